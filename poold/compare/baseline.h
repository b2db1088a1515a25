// An earlier comparison, as its JSON was saved, for a later one to be held against.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "compare/comparison.h"

namespace portpool {

class Baseline {
 public:
  // Reads what comparison_as_json() wrote. Throws UserError: no such file, or another one.
  explicit Baseline(const std::string& file);

  // For each figure with an interval: before, now, and now / before. The two runs are independent
  // of each other, so the interval of their ratio follows from those of both (the method of
  // variance estimates recovery, on logarithms: Zou and Donner 2008). It contains what varied
  // within the runs; what differed between them (load, peer) it cannot know. Hence no p-value.
  Against against(const Comparison& comparison) const;

 private:
  std::string file_;
  std::string subject_;
  std::string measured_;
  std::map<std::string, Interval> found_;  // by the names of estimates_of()
};

// now / before, of independent estimates above 0; nothing where one is not.
std::optional<Interval> ratio_of_independent(const Interval& now, const Interval& before);

}  // namespace portpool
