#include "observe/quantile.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/clock.h"

namespace portpool {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

// The first and the last bucket also hold what is shorter and longer than they are wide.
double end_of(const LatencySum& latency, std::size_t bucket) {
  const auto longest = static_cast<double>(latency.max_ns);
  if (bucket + 1 == kLatencyBuckets) return longest;
  return std::min(static_cast<double>(latency_bucket_low(bucket + 1)), longest);
}

}  // namespace

double quantile_us(const LatencySum& latency, double q) {
  return quantiles_us(latency, std::span(&q, 1)).front();
}

std::vector<double> quantiles_us(const LatencySum& latency, std::span<const double> ascending) {
  std::vector<double> result;
  const auto count = static_cast<double>(latency.count);
  double seen = 0;
  for (std::size_t i = 0; i < kLatencyBuckets && result.size() < ascending.size(); ++i) {
    if (latency.buckets[i] == 0) continue;
    const auto here = static_cast<double>(latency.buckets[i]);
    const double high = end_of(latency, i);
    const double low = std::min(static_cast<double>(latency_bucket_low(i)), high);
    while (result.size() < ascending.size() && ascending[result.size()] * count <= seen + here) {
      const double into = std::max(0.0, ascending[result.size()] * count - seen) / here;
      result.push_back(to_us(low + (high - low) * into));
    }
    seen += here;
  }
  result.resize(ascending.size(), kNone);
  return result;
}

double quantile_of(std::span<const double> values, double q) {
  std::vector<double> sorted;
  std::copy_if(values.begin(), values.end(), std::back_inserter(sorted),
               [](double v) { return !std::isnan(v); });
  if (sorted.empty()) return kNone;
  std::sort(sorted.begin(), sorted.end());
  const double place = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (place - static_cast<double>(below));
}

}  // namespace portpool
