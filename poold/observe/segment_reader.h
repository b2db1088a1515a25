// A running daemon's segment, for commands that only read it.
#pragma once

#include <boost/interprocess/mapped_region.hpp>
#include <string>

#include "base/descriptor.h"
#include "portpool/segment.h"

namespace portpool {

// A connection to the daemon that listens on `socket_path`, non-blocking. Throws UserError.
Descriptor connect_to_daemon(const std::string& socket_path);

// Waits for what the daemon sends to every visitor first: its segment. Empty when the daemon
// answered and sent none. Throws UserError when it does not answer, is another program, or refuses.
Descriptor receive_segment(const Descriptor& socket, const std::string& socket_path);

class SegmentReader {
 public:
  enum class Access {
    read,
    trace,  // the header is writable too, for a tracer's lease (portpool/trace.h) and nothing else
  };

  // Finds the daemon that listens on `socket_path` and maps its segment read-only: through /proc
  // when permitted, without the daemon doing anything (it may be stopped or busy), else by asking
  // for it. Throws UserError that says what is wrong and what to do.
  explicit SegmentReader(const std::string& socket_path, Access access = Access::read);

  const SegmentView& view() const { return view_; }
  // Only with Access::trace.
  SegmentHeader& writable_header() const {
    return *static_cast<SegmentHeader*>(header_.get_address());
  }

 private:
  boost::interprocess::mapped_region region_;
  boost::interprocess::mapped_region header_;
  SegmentView view_;
};

}  // namespace portpool
