#include "base/suggestion.h"

#include <algorithm>
#include <cstddef>
#include <vector>

namespace portpool {
namespace {

// Optimal string alignment: Damerau and Levenshtein's distance, but no letter is moved twice.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<std::size_t>> cost(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) cost[i][0] = i;
  for (std::size_t j = 0; j <= b.size(); ++j) cost[0][j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    for (std::size_t j = 1; j <= b.size(); ++j) {
      cost[i][j] = std::min({cost[i - 1][j] + 1, cost[i][j - 1] + 1,
                             cost[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
      }
    }
  }
  return cost[a.size()][b.size()];
}

}  // namespace

std::string nearest(std::string_view word, std::span<const std::string> known) {
  constexpr std::size_t kLongest = 64;
  if (word.size() > kLongest) return "";
  std::string best;
  std::size_t least = 0;
  for (const std::string& candidate : known) {
    const std::size_t cost = distance(word, candidate);
    if (cost > (candidate.size() + 2) / 3 || (!best.empty() && cost >= least)) continue;
    best = candidate;
    least = cost;
  }
  return best;
}

std::string did_you_mean(std::string_view word, std::span<const std::string> known,
                         std::string_view otherwise) {
  const std::string meant = nearest(word, known);
  return meant.empty() ? std::string(otherwise) : "did you mean \"" + meant + "\"?";
}

}  // namespace portpool
