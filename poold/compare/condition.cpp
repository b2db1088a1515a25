#include "compare/condition.h"

#include <fmt/format.h>

#include <string_view>

#include "base/error.h"
#include "base/parse_number.h"
#include "base/suggestion.h"
#include "base/text.h"

namespace portpool {
namespace {

[[noreturn]] void refuse(const std::string& condition, const std::string& why) {
  throw UserError(fmt::format("--fail-if \"{}\": {}", for_terminal(condition), why));
}

// What may stand for a figure in a condition.
std::vector<std::string> names_in(const std::vector<Figure>& figures) {
  std::vector<std::string> names;
  names.reserve(figures.size());
  for (const Figure& figure : figures) names.push_back(figure.name);
  return names;
}

struct Named {
  const Figure* figure = nullptr;
  std::optional<double> value;
};

bool is_estimate(std::string_view name) {
  return name.ends_with("_ratio") || name.ends_with("_change") ||
         (name.ends_with("_us") && !name.ends_with("_max_us"));
}

Named look_up(std::string_view name, const std::vector<Figure>& figures) {
  const std::size_t dot = name.rfind('.');
  const std::string_view end = dot == name.npos ? "" : name.substr(dot);
  const bool is_end = end == ".low" || end == ".high";
  const std::string_view whole = is_end ? name.substr(0, dot) : name;
  for (const Figure& figure : figures) {
    if (figure.name != whole || (is_end && !is_estimate(whole))) continue;
    return {&figure, !is_end ? figure.value : end == ".low" ? figure.low : figure.high};
  }
  return {};
}

bool holds(double value, const std::string& compare, double limit) {
  if (compare == "<") return value < limit;
  if (compare == "<=") return value <= limit;
  return compare == ">" ? value > limit : value >= limit;
}

}  // namespace

Condition parse_condition(const std::string& text, const std::vector<Figure>& figures) {
  Condition condition;
  condition.text = trimmed(text);
  const std::size_t at = text.find_first_of("<>");
  if (at == text.npos) {
    refuse(text, "expected a figure, then <, <=, > or >=, then a number, like p99_ratio<1");
  }
  const bool equal = at + 1 < text.size() && text[at + 1] == '=';
  condition.compare = text.substr(at, equal ? 2 : 1);
  condition.figure = trimmed(std::string_view(text).substr(0, at));
  const std::string_view number =
      trimmed(std::string_view(text).substr(at + condition.compare.size()));
  const auto limit = finite_number(number);
  if (!limit) refuse(text, fmt::format("\"{}\" is not a number", for_terminal(number)));
  condition.limit = *limit;
  if (look_up(condition.figure, figures).figure == nullptr) {
    const std::vector<std::string> names = names_in(figures);
    std::string list;
    for (const std::string& name : names) list += (list.empty() ? "" : ", ") + name;
    const std::string hint = did_you_mean(condition.figure, names, "");
    refuse(text,
           fmt::format("no figure is called \"{}\";{}{} expected one of these, an estimate also "
                       "with .low or .high: {}",
                       for_terminal(condition.figure), hint.empty() ? "" : " ", hint, list));
  }
  return condition;
}

ConditionResult evaluate(const Condition& condition, const std::vector<Figure>& figures) {
  using Answer = ConditionResult::Answer;
  const Named found = look_up(condition.figure, figures);
  if (!found.value) {
    return {Answer::not_measured,
            fmt::format("{} cannot be judged: {} was not measured, or in too few connects",
                        condition.text, condition.figure)};
  }
  const bool yes = holds(*found.value, condition.compare, condition.limit);
  std::string interval;
  if (found.figure->low && found.figure->high) {
    interval = fmt::format(", 95 % interval of {} {:.4g} to {:.4g}", found.figure->name,
                           *found.figure->low, *found.figure->high);
  }
  return {yes ? Answer::holds : Answer::holds_not,
          fmt::format("{} {}: {} is {:.6g}{}", condition.text, yes ? "holds" : "does not hold",
                      condition.figure, *found.value, interval)};
}

}  // namespace portpool
