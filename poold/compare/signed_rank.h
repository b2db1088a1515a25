// Wilcoxon's signed-rank test of pairs: does one side tend to be larger than the other?
#pragma once

#include <cstddef>
#include <span>

namespace portpool {

struct SignedRank {
  double w = 0;           // sum of the ranks of the differences above 0
  std::size_t zeros = 0;  // differences that are 0
  double p = 1;           // two-sided
  bool exact = false;     // else by the normal approximation, corrected for continuity
};

// Of one difference for each pair. Zeros take part in the ranking and are left out afterwards
// (Pratt 1959): with those left out before, as Wilcoxon did, values can look larger when one of
// them goes down from 0. Equal sizes have the mean of their ranks. Up to kExactPairs pairs exact,
// given the ranks, with ties and zeros too. p is 1 where no difference is other than 0.
SignedRank signed_rank(std::span<const double> differences);

inline constexpr std::size_t kExactPairs = 50;

}  // namespace portpool
