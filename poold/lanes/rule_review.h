// What a list of rules says twice, or to no effect.
#pragma once

#include <string>
#include <vector>

#include "lanes/rules.h"

namespace portpool {

// A sentence for each: names that stand for two rules; rules that never apply, and destinations
// that fall to a rule before theirs. What only several destinations together take away is not seen.
// The implicit last rule (always the last one of `rules`) is not spoken of.
std::vector<std::string> review_of(const std::vector<PoolRule>& rules);

}  // namespace portpool
