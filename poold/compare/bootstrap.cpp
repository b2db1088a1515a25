#include "compare/bootstrap.h"

#include <random>

#include "observe/quantile.h"

namespace portpool {
namespace {

std::vector<double> figures_of(const std::vector<BlockPair>& pairs,
                               const std::vector<std::size_t>& drawn, const Figures& figures) {
  LatencySum pool;
  LatencySum kernel;
  for (const std::size_t i : drawn) {
    pool.add(pairs[i].pool);
    kernel.add(pairs[i].kernel);
  }
  return figures(pool, kernel);
}

}  // namespace

std::vector<Interval> bootstrap(const std::vector<BlockPair>& pairs, const Figures& figures,
                                std::uint64_t seed, int resamples) {
  std::vector<std::size_t> drawn(pairs.size());
  for (std::size_t i = 0; i < drawn.size(); ++i) drawn[i] = i;
  const std::vector<double> values = figures_of(pairs, drawn, figures);
  std::vector<std::vector<double>> resampled(values.size());
  // Not uniform_int_distribution: its results differ from one standard library to another.
  std::mt19937_64 random(seed);
  for (int r = 0; r < resamples && !pairs.empty(); ++r) {
    for (std::size_t& i : drawn) {
      i = static_cast<std::size_t>(static_cast<unsigned __int128>(random()) * pairs.size() >> 64);
    }
    const std::vector<double> now = figures_of(pairs, drawn, figures);
    for (std::size_t f = 0; f < values.size(); ++f) resampled[f].push_back(now[f]);
  }
  std::vector<Interval> intervals;
  for (std::size_t f = 0; f < values.size(); ++f) {
    intervals.push_back(
        {values[f], quantile_of(resampled[f], 0.025), quantile_of(resampled[f], 0.975)});
  }
  return intervals;
}

}  // namespace portpool
