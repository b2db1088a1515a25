// Intervals by resampling whole blocks: calls of one block are alike (same moment, same
// neighbours), so drawing single calls would make every interval far too narrow.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "observe/report.h"

namespace portpool {

struct Interval {
  double value = 0;  // of the data as they are
  double low = 0;    // 95 % of the resamples lie between low and high
  double high = 0;
};

// Two blocks, one of each arm, next to each other in time. For one arm alone `kernel` stays empty.
struct BlockPair {
  LatencySum pool;
  LatencySum kernel;
};

// Computes any number of figures (always as many) from the sums over the pairs.
using Figures =
    std::function<std::vector<double>(const LatencySum& pool, const LatencySum& kernel)>;

inline constexpr int kResamples = 2000;

// Draws as many pairs as there are, with replacement, `resamples` times; the percentile method.
// A pair is drawn as one: what both its blocks went through together does not widen a ratio. A
// figure that is NaN in a resample is left out there. The same seed gives the same intervals.
std::vector<Interval> bootstrap(const std::vector<BlockPair>& pairs, const Figures& figures,
                                std::uint64_t seed, int resamples = kResamples);

}  // namespace portpool
