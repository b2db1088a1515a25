#include "doctor/checks.h"

#include <algorithm>

namespace portpool::doctor {

Check not_known(const std::string& why) {
  Check check;
  check.status = Status::unknown;
  check.summary = "cannot be known here: " + why;
  return check;
}

std::vector<Check> run_checks(const Facts& facts) {
  std::vector<Check> checks;
  for (const CheckEntry& entry : kChecks) {
    checks.push_back(entry.run(facts));
    checks.back().name = entry.name;
  }
  std::stable_sort(checks.begin(), checks.end(),
                   [](const Check& a, const Check& b) { return a.status > b.status; });
  return checks;
}

}  // namespace portpool::doctor
