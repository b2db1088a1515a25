// A running daemon's segment, for commands that only read it.
#pragma once

#include <sys/types.h>

#include <boost/interprocess/mapped_region.hpp>
#include <string>

#include "base/descriptor.h"
#include "base/error.h"
#include "portpool/segment.h"

namespace portpool {

// Why there is no segment to be had.
enum class NoSegment {
  absent,         // nobody listens
  not_permitted,  // this user may not open the socket, or was refused
  elsewhere,      // refused: another network namespace than this command's
  silent,         // somebody listens, and does not answer
  unusable,       // another layout, no poold, or damaged
};

struct SegmentError : UserError {
  SegmentError(NoSegment reason, const std::string& text) : UserError(text), why(reason) {}
  NoSegment why;
};

// A connection to the daemon that listens on `socket_path`, non-blocking. Throws SegmentError.
Descriptor connect_to_daemon(const std::string& socket_path);

// The two memory files of a segment, and the sizes that they must have.
struct SegmentFiles {
  Descriptor structure;
  Descriptor hints;
  std::uint64_t structure_size = 0;
  std::uint64_t hints_size = 0;
};

// Waits for what the daemon sends to every visitor first: its segment. Throws SegmentError when it
// does not answer, is another program or of another layout, refuses, or sends something else.
SegmentFiles receive_segment(const Descriptor& socket, const std::string& socket_path);

class SegmentReader {
 public:
  enum class Access {
    read,
    trace,  // the hints are mapped for writing, for a tracer's lease (portpool/trace.h) alone
  };

  // Finds the daemon that listens on `socket_path` and maps its segment: through /proc when
  // permitted, without the daemon doing anything (it may be stopped or busy), else by asking for
  // it. What it maps has passed the check of portpool/memory_file.h. Throws SegmentError, whose
  // text says what is wrong and what to do.
  explicit SegmentReader(const std::string& socket_path, Access access = Access::read);

  const SegmentView& view() const { return view_; }
  // The structure's inode, as /proc/PID/maps shows it of those who have it mapped.
  ino_t structure_inode() const { return structure_inode_; }

 private:
  boost::interprocess::mapped_region structure_;
  boost::interprocess::mapped_region hints_;
  SegmentView view_;
  ino_t structure_inode_ = 0;
};

}  // namespace portpool
