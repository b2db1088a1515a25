// Every number of a comparison by its name: for CSV, for conditions, and to compare runs.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "compare/comparison.h"

namespace portpool {

// Those with intervals: "pool_p99_us", "kernel_p99_us", "p99_ratio" for p50, p90, p99 and p999, and
// the same of cpu. Always all of them, in the same order.
struct Estimate {
  std::string name;
  std::optional<Interval> found;  // nothing: not measured
};
std::vector<Estimate> estimates_of(const Comparison& comparison);

struct Figure {
  std::string name;
  std::optional<double> value;  // nothing: not measured
  std::optional<double> low;    // ends of the interval, of an estimate
  std::optional<double> high;
};

// The estimates; what an earlier run makes of them ("pool_p99_us_change": new / old); p_value,
// pairs, and each arm's counts. Which names there are depends on nothing but on `against`.
std::vector<Figure> figures_of(const Comparison& comparison);

// "figure,value,low,high", RFC 4180 with plain newlines; verdict, subject and time as values too.
std::string comparison_as_csv(const Comparison& comparison, const Trial& trial);

}  // namespace portpool
