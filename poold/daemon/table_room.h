// Room in a table of lanes that runs full.
#pragma once

#include <chrono>

#include "daemon/lane_work.h"
#include "daemon/slice.h"
#include "lanes/retirement.h"

namespace portpool {

class TableRoom {
 public:
  explicit TableRoom(LaneWork& work) : work_(work), retirement_(work.lanes) {}

  // A lane that is asked for has found no place.
  void needed();
  // Somebody still waits for a place, and only the kernel's table tells which lanes may go: the
  // next pass is to look at all lanes.
  bool wants_pass() const { return needed_; }
  // After a pass. `all`: it has looked at every lane, and completely.
  void pass_ended(bool all);
  // Retires what was chosen. True: there is more.
  bool run(const Slice& slice);

 private:
  using Clock = std::chrono::steady_clock;

  void warn_rarely();

  LaneWork& work_;
  Retirement retirement_;
  bool needed_ = false;  // and nothing was found that could go
  bool more_ = false;
  Clock::time_point look_due_;
  Clock::time_point warning_due_;
};

}  // namespace portpool
