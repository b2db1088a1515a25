// For how long a daemon's heartbeat has stood still, by this process's own clock.
#pragma once

#include <chrono>
#include <cstdint>

#include "portpool/hints.h"

namespace portpool {

class HeartbeatWatch {
 public:
  using Time = std::chrono::steady_clock::time_point;

  // `since`: when it is taken to have moved last.
  HeartbeatWatch(const StructureHeader& header, Time since)
      : beat_(header.heartbeat.load(std::memory_order_relaxed)), since_(since) {}

  std::chrono::steady_clock::duration silence(const StructureHeader& header, Time now) {
    const std::uint64_t beat = header.heartbeat.load(std::memory_order_relaxed);
    if (beat != beat_) {
      beat_ = beat;
      since_ = now;
    }
    return now - since_;
  }

 private:
  std::uint64_t beat_;
  Time since_;
};

}  // namespace portpool
