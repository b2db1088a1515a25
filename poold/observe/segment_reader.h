// A running daemon's segment, for commands that only read it.
#pragma once

#include <boost/interprocess/mapped_region.hpp>
#include <string>

#include "base/descriptor.h"
#include "portpool/segment.h"

namespace portpool {

// A connection to the daemon that listens on `socket_path`, non-blocking. Throws UserError.
Descriptor connect_to_daemon(const std::string& socket_path);

// The two memory files of a segment, and the sizes that they must have.
struct SegmentFiles {
  Descriptor structure;
  Descriptor hints;
  std::uint64_t structure_size = 0;
  std::uint64_t hints_size = 0;
};

// Waits for what the daemon sends to every visitor first: its segment. Throws UserError when it
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
  // it. What it maps has passed the check of portpool/memory_file.h. Throws UserError that says
  // what is wrong and what to do.
  explicit SegmentReader(const std::string& socket_path, Access access = Access::read);

  const SegmentView& view() const { return view_; }

 private:
  boost::interprocess::mapped_region structure_;
  boost::interprocess::mapped_region hints_;
  SegmentView view_;
};

}  // namespace portpool
