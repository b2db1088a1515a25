// A condition on a comparison's figures, such as "p99_ratio<1", for a program that must decide.
#pragma once

#include <string>
#include <vector>

#include "compare/figures.h"

namespace portpool {

struct Condition {
  std::string text;     // as it was given
  std::string figure;   // perhaps with ".low" or ".high": an end of its interval
  std::string compare;  // <, <=, > or >=
  double limit = 0;
};

// Throws UserError when it cannot be understood, or when `figures`, as of any comparison, have none
// of that name.
Condition parse_condition(const std::string& text, const std::vector<Figure>& figures);

struct ConditionResult {
  enum class Answer { holds, holds_not, not_measured } answer;
  std::string sentence;
};
ConditionResult evaluate(const Condition& condition, const std::vector<Figure>& figures);

}  // namespace portpool
