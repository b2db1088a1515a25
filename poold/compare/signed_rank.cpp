#include "compare/signed_rank.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <vector>

namespace portpool {
namespace {

// Twice the rank of each by its size, from 1 up: whole numbers where equal sizes share a mean.
std::vector<std::size_t> doubled_ranks(std::span<const double> differences) {
  std::vector<std::size_t> order(differences.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto size = [&](std::size_t i) { return std::abs(differences[i]); };
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return size(a) < size(b); });
  std::vector<std::size_t> ranks(differences.size());
  for (std::size_t first = 0; first < order.size();) {
    std::size_t last = first;
    while (last + 1 < order.size() && size(order[last + 1]) == size(order[first])) ++last;
    for (std::size_t i = first; i <= last; ++i) ranks[order[i]] = first + 1 + last + 1;
    first = last + 1;
  }
  return ranks;
}

// The share of all ways to give these ranks signs in which the sum of those with a plus is at most
// `sum`. A double counts up to 2^53 ways without error.
double exact_share(const std::vector<std::size_t>& ranks, std::size_t sum) {
  std::vector<double> ways{1};  // by the sum
  for (const std::size_t rank : ranks) {
    ways.resize(ways.size() + rank, 0.0);
    for (std::size_t i = ways.size(); i-- > rank;) ways[i] += ways[i - rank];
  }
  const auto end = ways.begin() + static_cast<std::ptrdiff_t>(std::min(sum + 1, ways.size()));
  return std::accumulate(ways.begin(), end, 0.0) / std::accumulate(ways.begin(), ways.end(), 0.0);
}

}  // namespace

SignedRank signed_rank(std::span<const double> differences) {
  SignedRank result;
  const std::vector<std::size_t> all = doubled_ranks(differences);
  std::vector<std::size_t> ranks;
  std::size_t plus = 0;
  std::size_t total = 0;
  double squares = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (differences[i] == 0) {
      ++result.zeros;
      continue;
    }
    ranks.push_back(all[i]);
    total += all[i];
    if (differences[i] > 0) plus += all[i];
    squares += static_cast<double>(all[i] * all[i]);
  }
  result.w = static_cast<double>(plus) / 2;
  if (ranks.empty()) return result;
  if (differences.size() <= kExactPairs) {
    result.exact = true;
    result.p = std::min(1.0, 2 * exact_share(ranks, std::min(plus, total - plus)));
    return result;
  }
  // Of a sum of independent ranks, each there or not by the toss of a coin: that knows of ties.
  const double middle = static_cast<double>(total) / 4;
  const double deviation = std::sqrt(squares / 4 / 4);
  const double z = std::max(0.0, std::abs(result.w - middle) - 0.5) / deviation;
  result.p = std::min(1.0, std::erfc(z / std::numbers::sqrt2));
  return result;
}

}  // namespace portpool
