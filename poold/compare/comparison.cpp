#include "compare/comparison.h"

#include <algorithm>
#include <cmath>

#include "base/clock.h"
#include "compare/verdict.h"
#include "observe/quantile.h"

namespace portpool {
namespace {

constexpr double kShown[] = {0.5, 0.9, 0.99, 0.999};
constexpr const char* kLabels[] = {"p50", "p90", "p99", "p99.9"};

// Quantiles that lie evenly on an axis of 1/(1-q), twelve for each factor of ten, as far as `count`
// calls reach; with those of kShown.
std::vector<double> curve_quantiles(std::uint64_t count) {
  std::vector<double> list(std::begin(kShown), std::end(kShown));
  for (int step = 1; step <= 12 * 7; ++step) {
    const double q = 1 - std::pow(10.0, -step / 12.0);
    if (static_cast<double>(count) * (1 - q) < kCallsBeyond) break;
    list.push_back(q);
  }
  std::sort(list.begin(), list.end());
  const auto same = [](double a, double b) { return std::abs(a - b) < 1e-9; };
  list.erase(std::unique(list.begin(), list.end(), same), list.end());
  return list;
}

struct Pairs {
  std::vector<BlockPair> latency;
  std::vector<Block> blocks;  // two for each, or one with one arm
};

Pairs complete_pairs(const std::vector<Block>& blocks, bool two_arms) {
  Pairs pairs;
  if (!two_arms) {
    pairs.blocks = blocks;
    for (const Block& block : blocks) {
      pairs.latency.push_back({block.path(Route::pool), block.path(Route::kernel)});
    }
    return pairs;
  }
  for (std::size_t i = 0; i + 1 < blocks.size(); ++i) {
    const Block& first = blocks[i];
    const Block& second = blocks[i + 1];
    if (first.number % 2 == 0 || second.number != first.number + 1 || first.arm == second.arm) {
      continue;
    }
    const bool pool_first = first.arm == Route::pool;
    pairs.latency.push_back(
        {pool_first ? first.latency : second.latency, pool_first ? second.latency : first.latency});
    pairs.blocks.push_back(first);
    pairs.blocks.push_back(second);
  }
  return pairs;
}

// Of one arm; of one path where there is one arm.
ArmTotals totals_of(const std::vector<Block>& blocks, Route route, bool two_arms) {
  ArmTotals totals;
  std::vector<double> occupancy;
  for (const Block& block : blocks) {
    if (two_arms && block.arm != route) continue;
    ++totals.blocks;
    totals.seconds += block.length_s;
    totals.latency.add(two_arms ? block.latency : block.path(route));
    totals.fallbacks += block.fallbacks;
    if (!std::isnan(block.occupancy)) occupancy.push_back(block.occupancy);
  }
  if (!occupancy.empty()) {
    totals.occupancy = {quantile_of(occupancy, 0), quantile_of(occupancy, 0.5),
                        quantile_of(occupancy, 1)};
  }
  return totals;
}

double cpu_us(const LatencySum& latency) {
  return to_us(latency.cpu_ns) / static_cast<double>(latency.cpu_samples);
}

// All figures in one resampling: for each quantile pool, kernel and ratio, and the same of the CPU
// time.
void add_intervals(Comparison& out, const std::vector<BlockPair>& pairs, std::uint64_t seed) {
  const std::vector<double> qs =
      curve_quantiles(std::max(out.pool.latency.count, out.kernel.latency.count));
  const auto figures = [&](const LatencySum& pool, const LatencySum& kernel) {
    const std::vector<double> a = quantiles_us(pool, qs);
    const std::vector<double> b = quantiles_us(kernel, qs);
    std::vector<double> all;
    for (std::size_t i = 0; i < qs.size(); ++i) all.insert(all.end(), {a[i], b[i], b[i] / a[i]});
    all.insert(all.end(), {cpu_us(pool), cpu_us(kernel), cpu_us(kernel) / cpu_us(pool)});
    return all;
  };
  const std::vector<Interval> found = bootstrap(pairs, figures, seed);
  for (std::size_t i = 0; i < qs.size(); ++i) {
    QuantileRow row;
    row.q = qs[i];
    if (has_quantile(out.pool.latency, row.q)) row.pool = found[3 * i];
    if (has_quantile(out.kernel.latency, row.q)) row.kernel = found[3 * i + 1];
    if (out.two_arms && row.pool && row.kernel) row.ratio = found[3 * i + 2];
    for (std::size_t s = 0; s < std::size(kShown); ++s) {
      if (std::abs(kShown[s] - row.q) > 1e-9) continue;
      row.label = kLabels[s];
      out.quantiles[s] = row;
    }
    if (row.pool || row.kernel) out.curve.push_back(row);
  }
  const std::size_t cpu = 3 * qs.size();
  if (out.pool.latency.cpu_samples >= kFewestConnects) out.pool.cpu_us = found[cpu];
  if (out.kernel.latency.cpu_samples >= kFewestConnects) out.kernel.cpu_us = found[cpu + 1];
  if (out.two_arms && out.pool.cpu_us && out.kernel.cpu_us) out.cpu_ratio = found[cpu + 2];
}

void add_medians(Comparison& out, const std::vector<BlockPair>& pairs) {
  // Logarithms: twice as long weighs as much as half as long, and it does not matter which arm is
  // divided by which.
  std::vector<double> ratios;
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    if (std::min(pairs[i].pool.count, pairs[i].kernel.count) < kFewestConnects) continue;
    out.differences.push_back({out.blocks[2 * i].start_s, quantile_us(pairs[i].pool, 0.5),
                               quantile_us(pairs[i].kernel, 0.5)});
    ratios.push_back(std::log(out.differences.back().ratio()));
  }
  out.medians = signed_rank(ratios);
}

}  // namespace

Comparison compare(const Trial& trial, bool two_arms) {
  Comparison out;
  out.two_arms = two_arms;
  const Pairs pairs = complete_pairs(trial.blocks, two_arms);
  out.blocks = pairs.blocks;
  out.pairs = pairs.latency.size();
  out.pool = totals_of(out.blocks, Route::pool, two_arms);
  out.kernel = totals_of(out.blocks, Route::kernel, two_arms);
  for (std::size_t s = 0; s < std::size(kShown); ++s) {
    out.quantiles[s].q = kShown[s];
    out.quantiles[s].label = kLabels[s];
  }
  add_intervals(out, pairs.latency, trial.seed);
  if (two_arms) add_medians(out, pairs.latency);
  judge(out, trial);
  return out;
}

}  // namespace portpool
