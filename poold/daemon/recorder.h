// The flight recorder: once a second a reading of all counters goes to the structure's history, so
// that what has happened can be looked at afterwards (observe/history.h).
#pragma once

#include <chrono>
#include <cstdint>

#include "lanes/lane_table.h"

namespace portpool {

class Recorder {
 public:
  static constexpr std::chrono::seconds kPause{1};
  static constexpr std::chrono::seconds kCoarsePause{10};

  // Goes on behind the samples that an earlier poold has left. Writes the first one.
  Recorder(const StructureWriter& structure, const LaneTable& lanes);

  // One sample: far below a slice, at any number of lanes.
  void record();

 private:
  StructureWriter structure_;
  const LaneTable& lanes_;
  // Of the next sample.
  std::uint64_t fine_ticket_;
  std::uint64_t coarse_ticket_;
  std::uint64_t coarse_due_ns_ = 0;  // CLOCK_BOOTTIME
};

}  // namespace portpool
