// What a quantile is: the one definition for everything that poold shows or compares.
#pragma once

#include <span>
#include <vector>

#include "observe/report.h"

namespace portpool {

// The latency in us that a share `q` (0..1) of the calls did not exceed, taking the calls of a
// bucket as spread evenly over it, and those of the last one as spread up to the longest call: so
// none is above max_ns, and with q = 1 it is max_ns. NaN without calls.
double quantile_us(const LatencySum& latency, double q);

// The same for several, which must ascend.
std::vector<double> quantiles_us(const LatencySum& latency, std::span<const double> ascending);

// At least so many calls must lie beyond a quantile for it to be told.
inline constexpr double kCallsBeyond = 10;
inline bool has_quantile(const LatencySum& latency, double q) {
  return static_cast<double>(latency.count) * (1 - q) >= kCallsBeyond - 1e-6;
}

// The same of a list of numbers, interpolated between neighbours (R's type 7). NaN when it is
// empty; NaNs in it are left out.
double quantile_of(std::span<const double> values, double q);

}  // namespace portpool
