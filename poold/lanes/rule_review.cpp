#include "lanes/rule_review.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <utility>

namespace portpool {
namespace {

bool covers(const DestinationPattern& wide, const DestinationPattern& narrow) {
  return (wide.port == 0 || wide.port == narrow.port) && wide.prefix.bits <= narrow.prefix.bits &&
         wide.prefix.contains(narrow.prefix.base);
}

// Whether there is a destination that fits both.
bool meet(const DestinationPattern& a, const DestinationPattern& b) {
  return (a.port == 0 || b.port == 0 || a.port == b.port) &&
         (a.prefix.contains(b.prefix.base) || b.prefix.contains(a.prefix.base));
}

bool takes_all_of(const PoolRule& rule, const DestinationPattern& pattern) {
  const auto covering = [&](const DestinationPattern& own) { return covers(own, pattern); };
  const auto meeting = [&](const DestinationPattern& left_out) { return meet(left_out, pattern); };
  return (rule.destinations.empty() ||
          std::any_of(rule.destinations.begin(), rule.destinations.end(), covering)) &&
         std::none_of(rule.exclude.begin(), rule.exclude.end(), meeting);
}

bool takes_everything(const PoolRule& rule) {
  return rule.destinations.empty() && rule.exclude.empty();
}

class Review {
 public:
  explicit Review(const std::vector<PoolRule>& rules) : rules_(rules) {}

  std::vector<std::string> all() {
    for (std::size_t i = 0; i + 1 < rules_.size(); ++i) {
      look_for_its_name(i);
      look_for_who_comes_first(i);
    }
    return std::move(sentences_);
  }

 private:
  // The first rule before rule `i` that `fits`.
  template <class Fits>
  const PoolRule* before(std::size_t i, Fits fits) const {
    const auto end = rules_.begin() + static_cast<std::ptrdiff_t>(i);
    const auto found = std::find_if(rules_.begin(), end, fits);
    return found != end ? &*found : nullptr;
  }

  void look_for_its_name(std::size_t i) {
    const std::string& name = rules_[i].name;
    if (before(i, [&](const PoolRule& rule) { return rule.name == name; }) == nullptr) return;
    sentences_.push_back(fmt::format(
        "two pools are called \"{}\", and cannot be told apart in status and metrics", name));
  }

  void look_for_who_comes_first(std::size_t i) {
    const PoolRule& rule = rules_[i];
    if (const PoolRule* all = before(i, takes_everything)) return say_never(rule, {all});
    std::vector<const PoolRule*> takers;
    std::vector<std::string> taken;
    for (const DestinationPattern& pattern : rule.destinations) {
      const PoolRule* taker =
          before(i, [&](const PoolRule& one) { return takes_all_of(one, pattern); });
      if (taker == nullptr) continue;
      if (std::find(takers.begin(), takers.end(), taker) == takers.end()) takers.push_back(taker);
      taken.push_back(fmt::format("{} of pool \"{}\" falls to pool \"{}\", which stands before it",
                                  to_text(pattern), rule.name, taker->name));
    }
    if (!taken.empty() && taken.size() == rule.destinations.size()) return say_never(rule, takers);
    sentences_.insert(sentences_.end(), taken.begin(), taken.end());
  }

  void say_never(const PoolRule& rule, const std::vector<const PoolRule*>& takers) {
    sentences_.push_back(
        fmt::format("pool \"{}\" never applies: what it is for falls to pool \"{}\"{}, before it",
                    rule.name, takers.front()->name, takers.size() > 1 ? " and others" : ""));
  }

  const std::vector<PoolRule>& rules_;
  std::vector<std::string> sentences_;
};

}  // namespace

std::vector<std::string> review_of(const std::vector<PoolRule>& rules) {
  return Review(rules).all();
}

}  // namespace portpool
