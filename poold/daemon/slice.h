// The measure of all work on the event loop's thread: what takes longer is cut into slices, and
// everybody else is served between two of them.
#pragma once

#include <chrono>

namespace portpool {

class Slice {
 public:
  static constexpr std::chrono::milliseconds kLength{5};

  // To be asked between two pieces of work, each a small part of a slice.
  bool over() const { return Clock::now() >= end_; }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point end_ = Clock::now() + kLength;
};

}  // namespace portpool
