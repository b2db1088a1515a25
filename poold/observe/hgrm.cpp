#include "observe/hgrm.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/clock.h"
#include "observe/quantile.h"

namespace portpool {
namespace {

constexpr double kTicksPerHalf = 5;

// The largest value that a bucket stands for.
double highest(const LatencySum& latency, std::size_t bucket) {
  const std::uint64_t end = latency_bucket_low(bucket + 1) - 1;
  const bool last = bucket + 1 == kLatencyBuckets;
  return static_cast<double>(last ? latency.max_ns : std::min(end, latency.max_ns));
}

// From the middle of each bucket: at most 1.6 % off.
double deviation(const LatencySum& latency, double mean) {
  double squares = 0;
  for (std::size_t i = 0; i < kLatencyBuckets; ++i) {
    const auto low = static_cast<double>(latency_bucket_low(i));
    const double off = (low + highest(latency, i)) / 2 - mean;
    if (latency.buckets[i] != 0) squares += static_cast<double>(latency.buckets[i]) * off * off;
  }
  return std::sqrt(squares / static_cast<double>(latency.count));
}

// The next level, in per cent: the distance to 100 % is halved in kTicksPerHalf steps.
double next_level(double level) {
  const double half = std::exp2(std::floor(std::log2(100 / (100 - level))) + 1);
  return level + 100 / (kTicksPerHalf * half);
}

std::string line(const LatencySum& latency, double level, std::uint64_t seen) {
  return fmt::format("{:12.3f} {:2.12f} {:10} {:14.2f}\n", quantile_us(latency, level / 100),
                     level / 100, seen, 1 / (1 - level / 100));
}

}  // namespace

std::string latency_as_hgrm(const LatencySum& latency) {
  std::string text = fmt::format("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile",
                                 "TotalCount", "1/(1-Percentile)");
  const auto total = static_cast<double>(latency.count);
  std::uint64_t seen = 0;
  double level = 0;
  for (std::size_t i = 0; i < kLatencyBuckets && seen < latency.count; ++i) {
    if (latency.buckets[i] == 0) continue;
    seen += latency.buckets[i];
    const double reached = 100 * static_cast<double>(seen) / total;
    // Counters that overflowed, or that a client wrote, may reach 100 % with a count still missing:
    // the levels end where a double cannot come nearer to 100.
    while (reached >= level) {
      text += line(latency, level, seen);
      if (seen == latency.count) break;
      const double next = next_level(level);
      if (!(next > level && next < 100)) break;
      level = next;
    }
    if (seen == latency.count) {
      text += fmt::format("{:12.3f} {:2.12f} {:10}\n", quantile_us(latency, 1), 1.0, latency.count);
    }
  }
  const double mean = latency.count == 0 ? 0 : static_cast<double>(latency.sum_ns) / total;
  const double spread = latency.count == 0 ? 0 : deviation(latency, mean);
  return text + fmt::format(
                    "#[Mean    = {:12.3f}, StdDeviation   = {:12.3f}]\n"
                    "#[Max     = {:12.3f}, Total count    = {:12}]\n"
                    "#[Buckets = {:12}, SubBuckets     = {:12}]\n",
                    to_us(mean), to_us(spread), to_us(latency.max_ns), latency.count,
                    kLatencyLastOctave - kLatencyFirstOctave + 1, 1U << kLatencySubBits);
}

}  // namespace portpool
