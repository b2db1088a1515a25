#include "compare/mann_whitney.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numbers>
#include <vector>

namespace portpool {
namespace {

constexpr std::size_t kExactLimit = 25;

// The share of the arrangements of m and n values whose U is at most `u`. Arrangements are counted
// by the recurrence count(m, n, u) = count(m - 1, n, u - n) + count(m, n - 1, u) of Mann and
// Whitney (1947); a double holds them with more digits than a p-value needs.
double exact_share(std::size_t m, std::size_t n, std::size_t u) {
  // row[j][k]: arrangements of i (so far) and j values with U = k.
  const std::size_t most = m * n + 1;
  std::vector<std::vector<double>> row(n + 1, std::vector<double>(most, 0.0));
  for (std::size_t j = 0; j <= n; ++j) row[j][0] = 1;
  for (std::size_t i = 1; i <= m; ++i) {
    std::vector<std::vector<double>> next(n + 1, std::vector<double>(most, 0.0));
    next[0][0] = 1;
    for (std::size_t j = 1; j <= n; ++j) {
      for (std::size_t k = 0; k < most; ++k) {
        next[j][k] = next[j - 1][k] + (k >= j ? row[j][k - j] : 0);
      }
    }
    row = std::move(next);
  }
  double up_to = 0;
  double all = 0;
  for (std::size_t k = 0; k < most; ++k) {
    all += row[n][k];
    if (k <= u) up_to += row[n][k];
  }
  return up_to / all;
}

// Sum of t^3 - t over groups of equal values.
double tie_term(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  double sum = 0;
  for (auto first = values.begin(); first != values.end();) {
    const auto last = std::upper_bound(first, values.end(), *first);
    const auto t = static_cast<double>(last - first);
    sum += t * t * t - t;
    first = last;
  }
  return sum;
}

}  // namespace

MannWhitney mann_whitney(std::span<const double> a, std::span<const double> b) {
  MannWhitney result;
  if (a.empty() || b.empty()) return result;
  for (const double x : a) {
    for (const double y : b) result.u += x > y ? 1 : x == y ? 0.5 : 0;
  }
  const auto m = static_cast<double>(a.size());
  const auto n = static_cast<double>(b.size());
  std::vector<double> all(a.begin(), a.end());
  all.insert(all.end(), b.begin(), b.end());
  const double ties = tie_term(all);
  if (ties == 0 && a.size() <= kExactLimit && b.size() <= kExactLimit) {
    result.exact = true;
    const double smaller = std::min(result.u, m * n - result.u);
    result.p = std::min(
        1.0, 2 * exact_share(a.size(), b.size(), static_cast<std::size_t>(std::lround(smaller))));
    return result;
  }
  const double variance = m * n / 12 * (m + n + 1 - ties / ((m + n) * (m + n - 1)));
  if (!(variance > 0)) return result;  // all values are equal
  const double z = std::max(0.0, std::abs(result.u - m * n / 2) - 0.5) / std::sqrt(variance);
  result.p = std::min(1.0, std::erfc(z / std::numbers::sqrt2));
  return result;
}

}  // namespace portpool
