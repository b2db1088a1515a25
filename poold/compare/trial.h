// What was measured: time blocks, each with what the connects of its arm did in it.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "observe/report.h"

namespace portpool {

struct Block {
  std::uint32_t number = 0;  // as in the segment: 1 and 2, 3 and 4, ... are pairs
  std::uint32_t merged = 1;  // how many of the segment's blocks it is: their sum
  Route arm = Route::pool;
  double start_s = 0;   // since the measurement began
  double length_s = 0;  // measured time: without the dropped beginning
  LatencySum latency;   // of the connects that were assigned to the arm
  // The same by the path that they ended on, pool and kernel; of a measurement with one arm alone.
  std::vector<LatencySum> paths;
  std::uint64_t fallbacks = 0;  // pool arm: those that ended on the kernel's path
  std::uint64_t other_arm = 0;  // connects of the other arm that ended in this block
  double occupancy = 0;  // of the fullest lane, 0..1, at the end of the block; NaN without a lane

  // For blocks that have `paths`.
  const LatencySum& path(Route which) const { return paths.at(static_cast<std::size_t>(which)); }
};

// Adds what a later block of the same arm counted; number, arm and start stay.
void append(Block& block, const Block& later);

// What happened between two readings. `arm`: only connects assigned to it; nullptr: all, for a
// measurement with one arm.
Block block_between(const Report& begin, const Report& end, const Route* arm);

// The share of a lane's ports that cannot be claimed; of the fullest lane. NaN without a lane.
double occupancy_of(const Report& report);

using Entries = std::vector<std::pair<std::string, std::string>>;

struct Trial {
  std::vector<Block> blocks;
  double block_s = 0;    // as asked for; 0 in a measurement with one arm
  double dropped_s = 0;  // left out at the beginning of each block
  std::uint64_t seed = 1;
  Report total;                      // all that happened in the time of the trial
  std::string subject;               // what was measured: "poold (pid 7)", or the command
  Entries environment;               // kernel, settings, configuration
  std::vector<std::string> remarks;  // what the reader must know: interrupted, ...
};

}  // namespace portpool
