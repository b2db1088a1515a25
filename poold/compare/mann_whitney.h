// The Mann-Whitney U test: do the values of one group tend to be larger than those of the other?
#pragma once

#include <span>

namespace portpool {

struct MannWhitney {
  double u = 0;        // pairs (a, b) with a > b, ties counted half
  double p = 1;        // two-sided
  bool exact = false;  // else by the normal approximation, corrected for ties and continuity
};

// Exact when no two values are equal and no group is larger than 25. p is 1 when a group is empty.
MannWhitney mann_whitney(std::span<const double> a, std::span<const double> b);

}  // namespace portpool
