#include "doctor/report.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "base/json_text.h"
#include "base/number_text.h"
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

// As a paragraph whose further lines stand below the first one's text.
std::string hanging(const std::string& first, std::string_view text, std::size_t indent) {
  std::string lines = wrapped(text, kTerminalWidth, indent);
  return first + lines.substr(std::min(lines.size(), indent));
}

// What is to be done is not wrapped: it can be copied.
std::string block(const Check& check, bool colour) {
  constexpr const char* kReset = "\033[0m";
  constexpr std::size_t kIndent = 7;
  const Mark mark = mark_of(check.status);
  std::string text =
      hanging(fmt::format("{}{}{} ", colour ? mark.colour : "", mark.text, colour ? kReset : ""),
              fmt::format("{}: {}", check.name, for_terminal(check.summary)), kIndent);
  if (!check.fix.empty()) {
    text += fmt::format("{:{}}do: {}\n", "", kIndent, for_terminal(check.fix));
  }
  if (check.status == Status::ok && !check.tells_when_ok) return text;
  for (const std::string& line : check.lines) {
    text += hanging(std::string(kIndent, ' '), for_terminal(line), kIndent + 2);
  }
  return text;
}

std::size_t number_of(const std::vector<Check>& checks, Status status) {
  return static_cast<std::size_t>(std::count_if(
      checks.begin(), checks.end(), [&](const Check& check) { return check.status == status; }));
}

std::string names_of(const std::vector<Check>& checks, Status status) {
  std::string names;
  for (const Check& check : checks) {
    if (check.status == status) names += (names.empty() ? "" : ", ") + check.name;
  }
  return names;
}

// Named once more, since the findings above it may have scrolled away.
std::string last_line(const std::vector<Check>& checks, bool all_shown) {
  std::string text = counted(checks.size(), "check", "checks") + ": ";
  for (const auto& [status, word] :
       {std::pair{Status::fail, "failed"}, std::pair{Status::warn, "with a warning"},
        std::pair{Status::unknown, "not known"}}) {
    const std::size_t number = number_of(checks, status);
    if (number != 0) text += fmt::format("{} {} ({}), ", number, word, names_of(checks, status));
  }
  const std::size_t fine = number_of(checks, Status::ok);
  text += fmt::format("{} ok{}", fine, all_shown || fine == 0 ? "" : " (--all shows them)");
  return wrapped(text, kTerminalWidth, 0);
}

}  // namespace

std::string checks_as_text(const std::vector<Check>& checks, bool all, bool colour) {
  const std::size_t unknown = number_of(checks, Status::unknown);
  std::string text;
  if (number_of(checks, Status::fail) + number_of(checks, Status::warn) == 0) {
    text = fmt::format(
        "Nothing wrong found{}\n",
        unknown == 0 ? ""
                     : fmt::format("; {} could not be made", counted(unknown, "check", "checks")));
  }
  for (const Check& check : checks) {
    if (all || check.status != Status::ok) text += block(check, colour);
  }
  return text + last_line(checks, all);
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
