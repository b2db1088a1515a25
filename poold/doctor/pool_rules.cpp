// What poold's configuration says twice, or to no effect.
#include <fmt/format.h>

#include "base/text.h"
#include "doctor/checks.h"

namespace portpool::doctor {

Check no_config() {
  Check check;
  check.summary = "no configuration given (--config FILE)";
  return check;
}

Check check_pool_rules(const Facts& facts) {
  if (!facts.config) return no_config();
  const std::vector<std::string>& idle = facts.config->idle_rules;
  Check check;
  check.evidence["idle"] = idle;
  if (idle.empty()) {
    check.summary = "each pool has a name and destinations of its own";
    return check;
  }
  check.status = Status::warn;
  check.summary = idle.front();
  check.fix =
      "the first pool that matches wins: put the narrower one first, remove what has no "
      "effect, and give each a name of its own";
  for (std::size_t i = 1; i < idle.size(); ++i) check.lines.push_back("also " + idle[i]);
  return check;
}

}  // namespace portpool::doctor
