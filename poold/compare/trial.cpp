#include "compare/trial.h"

#include <algorithm>
#include <limits>

namespace portpool {

double occupancy_of(const Report& report) {
  double fullest = std::numeric_limits<double>::quiet_NaN();
  for (const LaneReport& lane : report.lanes) {
    if (lane.counts.capacity == 0) continue;
    const double taken = 1 - static_cast<double>(lane.counts.free) / lane.counts.capacity;
    if (!(taken <= fullest)) fullest = taken;
  }
  return fullest;
}

void append(Block& block, const Block& later) {
  block.merged += later.merged;
  block.length_s += later.length_s;
  block.latency.add(later.latency);
  for (std::size_t i = 0; i < block.paths.size(); ++i) block.paths[i].add(later.paths.at(i));
  block.fallbacks += later.fallbacks;
  block.other_arm += later.other_arm;
  block.occupancy = later.occupancy;
}

Block block_between(const Report& begin, const Report& end, const Route* arm) {
  const Report difference = end.since(begin);
  Block block;
  if (arm != nullptr) {
    block.arm = *arm;
  } else {
    block.paths = {difference.path(Route::pool), difference.path(Route::kernel)};
  }
  for (const LatencyReport& part : difference.latency) {
    if (arm != nullptr && part.arm != *arm) {
      block.other_arm += part.latency.count;
      continue;
    }
    block.latency.add(part.latency);
    if (part.arm == Route::pool && part.path == Route::kernel) {
      block.fallbacks += part.latency.count;
    }
  }
  block.occupancy = occupancy_of(end);
  return block;
}

}  // namespace portpool
