// Are the units and programs that poold's configuration names under [expect] attached and served?
#include <fmt/format.h>

#include "base/text.h"
#include "doctor/checks.h"

namespace portpool::doctor {
namespace {

std::string fix_for(const ExpectedClients::Missing& missing) {
  if (missing.state == "absent") return "start it, or take it out of [expect]";
  if (missing.state == "observe") {
    return "set mode = \"pool\" in poold's configuration, and no PORTPOOL_MODE=observe in its own "
           "environment";
  }
  if (missing.state == "seccomp") return "poold explain seccomp";
  const bool is_service = missing.kind == "unit" && missing.name.ends_with(".service");
  return is_service ? fmt::format("poold enable {}, and restart it", shell_quote(missing.name))
                    : "poold check --all, which says of each process why";
}

}  // namespace

Check check_expected(const Facts& facts) {
  if (!facts.expected) return no_daemon("segment");
  Check check;
  const ExpectedClients& expected = *facts.expected;
  check.evidence = {{"expected", expected.count}, {"missing", Json::array()}};
  if (expected.count == 0) {
    check.summary = "poold's configuration expects nobody ([expect])";
    return check;
  }
  if (expected.missing.empty()) {
    check.summary = fmt::format("what the configuration expects is attached and served: {}",
                                counted(expected.count, "unit or program", "units or programs"));
    return check;
  }
  check.status = Status::warn;
  for (const ExpectedClients::Missing& missing : expected.missing) {
    check.evidence["missing"].push_back(
        {{"kind", missing.kind}, {"name", missing.name}, {"state", missing.state}});
    const std::string sentence =
        fmt::format("{} is expected and not served: {}", missing.name, missing.text);
    if (check.summary.empty()) {
      check.summary = sentence;
      check.fix = fix_for(missing);
    } else {
      check.lines.push_back("also " + sentence);
    }
  }
  return check;
}

}  // namespace portpool::doctor
