// A running daemon's segment, for commands that only read it.
#pragma once

#include <boost/interprocess/mapped_region.hpp>
#include <string>

#include "portpool/segment.h"

namespace portpool {

class SegmentReader {
 public:
  // Finds the daemon that listens on `socket_path` and maps its segment read-only: through /proc
  // when permitted, without the daemon doing anything (it may be stopped or busy), else by asking
  // for it. Throws UserError that says what is wrong and what to do.
  explicit SegmentReader(const std::string& socket_path);

  const SegmentView& view() const { return view_; }

 private:
  boost::interprocess::mapped_region region_;
  SegmentView view_;
};

}  // namespace portpool
