#include "doctor/report.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "base/json_text.h"
#include "base/text.h"

namespace portpool::doctor {
namespace {

struct Mark {
  const char* text;
  const char* colour;
};

Mark mark_of(Status status) {
  switch (status) {
    case Status::ok:
      return {"[ OK ]", "\033[32m"};
    case Status::warn:
      return {"[WARN]", "\033[1;33m"};
    case Status::fail:
      return {"[FAIL]", "\033[1;31m"};
    case Status::unknown:
      break;
  }
  return {"[ ?? ]", "\033[36m"};
}

std::string block(const Check& check, bool colour) {
  constexpr const char* kReset = "\033[0m";
  const Mark mark = mark_of(check.status);
  std::string text = fmt::format("{}{}{} {}: {}\n", colour ? mark.colour : "", mark.text,
                                 colour ? kReset : "", check.name, for_terminal(check.summary));
  if (!check.fix.empty()) text += fmt::format("       do: {}\n", for_terminal(check.fix));
  if (check.status == Status::ok && !check.name.starts_with("destination")) return text;
  for (const std::string& line : check.lines) text += "       " + for_terminal(line) + "\n";
  return text;
}

std::size_t number_of(const std::vector<Check>& checks, Status status) {
  return static_cast<std::size_t>(std::count_if(
      checks.begin(), checks.end(), [&](const Check& check) { return check.status == status; }));
}

}  // namespace

std::string checks_as_text(const std::vector<Check>& checks, bool colour) {
  const std::size_t failed = number_of(checks, Status::fail);
  const std::size_t warned = number_of(checks, Status::warn);
  const std::size_t unknown = number_of(checks, Status::unknown);
  std::string text;
  if (failed + warned == 0) {
    text = fmt::format(
        "Nothing wrong found{}\n",
        unknown == 0 ? ""
                     : fmt::format("; {} could not be made", counted(unknown, "check", "checks")));
  }
  for (const Check& check : checks) text += block(check, colour);
  text += fmt::format("{}: {} failed, {} with a warning, {} not known, {} ok\n",
                      counted(checks.size(), "check", "checks"), failed, warned, unknown,
                      number_of(checks, Status::ok));
  return text;
}

std::string checks_as_json(const std::vector<Check>& checks, bool compact) {
  Json list = Json::array();
  for (const Check& check : checks) {
    list.push_back({{"name", check.name},
                    {"status", name_of(check.status)},
                    {"summary", check.summary},
                    {"evidence", check.evidence},
                    {"fix", check.fix}});
  }
  const Json root = {{"schema", 1}, {"status", name_of(overall(checks))}, {"checks", list}};
  return json_text(root, compact ? -1 : 2) + "\n";
}

bool stdout_wants_colour() {
  const char* terminal = std::getenv("TERM");
  return isatty(STDOUT_FILENO) != 0 && !colours_are_refused() && terminal != nullptr &&
         std::string_view(terminal) != "dumb";
}

}  // namespace portpool::doctor
