#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/number_text.h"
#include "base/text.h"
#include "check/programs.h"

namespace portpool::check {
namespace {

enum Column : std::size_t { pid, name, user, unit, mode, served, connects, share, why, count };
using Row = std::array<std::string, Column::count>;

struct Shape {
  const char* heading;
  bool right;         // aligned
  std::size_t least;  // as narrow as it may get
};
constexpr std::array<Shape, Column::count> kShapes = {{{"PID", true, 7},
                                                       {"PROGRAM", false, 9},
                                                       {"USER", false, 6},
                                                       {"UNIT", false, 8},
                                                       {"MODE", false, 4},
                                                       {"SERVED", false, 6},
                                                       {"CONNECTS", true, 8},
                                                       {"POOL%", true, 5},
                                                       {"WHY", false, 15}}};

std::string or_dash(const std::string& text) { return text.empty() ? "-" : printable(text); }

Row row_of(const Program& program) {
  Row row;
  // One that has no number here has its own, in brackets.
  row[pid] =
      program.pid != 0 ? std::to_string(program.pid) : fmt::format("[{}]", program.inner_pid);
  row[name] = or_dash(program.name);
  row[user] = or_dash(program.user);
  row[unit] = or_dash(program.unit);
  row[mode] = or_dash(program.mode);
  row[served] = name_of(program.served);
  row[connects] = row[share] = "-";
  row[why] = program.reason;
  if (program.counts) {
    const std::uint64_t all = program.counts->pool + program.counts->kernel;
    row[connects] = std::to_string(all);
    if (all != 0) {
      row[share] = fmt::format(
          "{:.1f}", 100.0 * static_cast<double>(program.counts->pool) / static_cast<double>(all));
    }
    if (row[why].empty()) row[why] = program.counts->fallback;
  }
  if (row[why].empty()) row[why] = "-";
  return row;
}

using Widths = std::array<std::size_t, Column::count>;

Widths widths_of(const std::vector<Row>& rows, std::size_t width) {
  Widths widths{};
  for (std::size_t c = 0; c < Column::count; ++c) {
    widths[c] = std::string_view(kShapes[c].heading).size();
    for (const Row& row : rows) widths[c] = std::max(widths[c], row[c].size());
  }
  const auto total = [&] {
    std::size_t sum = Column::count - 1;
    for (const std::size_t w : widths) sum += w;
    return sum;
  };
  // What others name is cut first, the longest of it a column at a time.
  while (total() > width) {
    const auto excess = [&](Column c) {
      return widths[c] > kShapes[c].least ? widths[c] - kShapes[c].least : 0;
    };
    const Column longest =
        std::max({unit, name, user}, [&](Column a, Column b) { return excess(a) < excess(b); });
    if (excess(longest) == 0) break;
    --widths[longest];
  }
  return widths;
}

std::string line_of(const Row& row, const Widths& widths) {
  std::string line;
  for (std::size_t c = 0; c < Column::count; ++c) {
    const std::string_view cell = std::string_view(row[c]).substr(0, widths[c]);
    line += kShapes[c].right ? fmt::format("{:>{}} ", cell, widths[c])
                             : fmt::format("{:<{}} ", cell, widths[c]);
  }
  line.erase(line.find_last_not_of(' ') + 1);
  return line + "\n";
}

std::string note(const std::string& text) { return wrapped(text, kTerminalWidth, 0); }

}  // namespace

std::string programs_as_text(const Programs& programs, std::size_t width) {
  std::string text;
  if (programs.list.empty()) {
    text = "No program that can be seen here is under libportpool.so.\n";
  } else {
    std::vector<Row> rows;
    for (const Program& program : programs.list) rows.push_back(row_of(program));
    const Widths widths = widths_of(rows, width);
    Row heading;
    for (std::size_t c = 0; c < Column::count; ++c) heading[c] = kShapes[c].heading;
    text = line_of(heading, widths);
    for (const Row& row : rows) text += line_of(row, widths);
  }
  const auto is_elsewhere = [](const Program& program) { return program.pid == 0; };
  if (std::any_of(programs.list.begin(), programs.list.end(), is_elsewhere)) {
    text += note("[N]: a program in another pid namespace, with its number there");
  }
  if (programs.without_row != 0) {
    text +=
        note(fmt::format("and {} more attached to poold, without an entry or not to be seen here",
                         count_text(programs.without_row)));
  }
  if (programs.unreadable != 0) {
    text += note(fmt::format("{} may not be looked into by this user{}",
                             counted(programs.unreadable, "process", "processes"),
                             geteuid() == 0 ? "" : "; ask as root"));
  }
  return text;
}

std::size_t screen_width() {
  winsize size{};
  const bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? std::max<std::size_t>(size.ws_col, kTerminalWidth) : kTerminalWidth;
}

nlohmann::ordered_json programs_as_json(const Programs& programs) {
  using Json = nlohmann::ordered_json;
  Json list = Json::array();
  for (const Program& program : programs.list) {
    Json counts = nullptr;
    Json fallback = nullptr;
    if (program.counts) {
      counts = {{"pool", program.counts->pool}, {"kernel", program.counts->kernel}};
      if (!program.counts->fallback.empty()) {
        fallback = {{"reason", program.counts->fallback},
                    {"count", program.counts->fallback_count}};
      }
    }
    list.push_back({{"pid", program.pid},
                    {"inner_pid", program.inner_pid},
                    {"name", program.name},
                    {"user", program.user},
                    {"unit", program.unit},
                    {"mode", program.mode},
                    {"served", name_of(program.served)},
                    {"reason", program.reason},
                    {"text", program.text},
                    {"connects", counts},
                    {"fallback", fallback}});
  }
  return {{"programs", list},
          {"more_attached", programs.without_row},
          {"unreadable", programs.unreadable}};
}

}  // namespace portpool::check
