#include "doctor/checks.h"

#include <algorithm>

#include "doctor/persistence.h"

namespace portpool::doctor {

Check not_known(const std::string& why) {
  Check check;
  check.status = Status::unknown;
  check.summary = "cannot be known here: " + why;
  return check;
}

Check no_daemon(const std::string& part) {
  Check check;
  check.summary = "no daemon runs here, or none whose " + part + " may be read";
  return check;
}

void say_how_to_keep(Check& check) {
  const std::string command = persistent_form(check.fix);
  if (command.empty()) return;
  check.lines.push_back("to keep it over a reboot: " + command);
  check.evidence["persistent_fix"] = command;
}

std::vector<Check> run_checks(const Facts& facts) {
  std::vector<Check> checks;
  for (const CheckEntry& entry : kChecks) {
    checks.push_back(entry.run(facts));
    checks.back().name = entry.name;
    say_how_to_keep(checks.back());
  }
  std::stable_sort(checks.begin(), checks.end(),
                   [](const Check& a, const Check& b) { return a.status > b.status; });
  return checks;
}

}  // namespace portpool::doctor
