#include "cli/help.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/suggestion.h"
#include "base/text.h"

namespace portpool {
namespace {

std::vector<std::string> commands_of(const CLI::App& program) {
  std::vector<std::string> names;
  for (const CLI::App* command : program.get_subcommands({})) names.push_back(command->get_name());
  return names;
}

// Where the text begins that further lines stand below: after the last gap of two or more spaces in
// the first half of the line, else at the line's own beginning.
std::size_t hanging_indent(std::string_view line) {
  const std::size_t own = std::min(line.find_first_not_of(' '), line.size());
  const std::size_t gap = line.substr(0, kTerminalWidth / 2).rfind("  ");
  return gap == line.npos || gap < own ? own : line.find_first_not_of(' ', gap);
}

std::string narrow(std::string_view line) {
  if (line.size() <= kTerminalWidth) return std::string(line) + "\n";
  const std::size_t indent = hanging_indent(line);
  std::string text = wrapped(line.substr(indent), kTerminalWidth, indent);
  text.replace(0, indent, line.substr(0, indent));
  return text;
}

}  // namespace

std::vector<std::string> arranged(std::vector<std::string> words, const CLI::App& program) {
  const auto is_option = [](const std::string& word) { return word.starts_with("-"); };
  std::size_t first = 0;
  while (first < words.size() && is_option(words[first]))
    first += words[first] == "--socket" ? 2 : 1;
  if (first >= words.size()) return words;
  if (words[first] == "help") {
    const bool one = first + 1 < words.size() && !is_option(words[first + 1]);
    words = one ? std::vector<std::string>{words[first + 1], "--help"}
                : std::vector<std::string>{"--help"};
    first = 0;
  }
  std::rotate(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(first),
              words.begin() + static_cast<std::ptrdiff_t>(first) + 1);
  const std::vector<std::string> known = commands_of(program);
  if (is_option(words[0]) || std::find(known.begin(), known.end(), words[0]) != known.end()) {
    return words;
  }
  throw UserError(fmt::format("no command is called \"{}\"; {}", for_terminal(words[0]),
                              did_you_mean(words[0], known, "\"poold --help\" lists them")));
}

std::string say_what_is_wrong(const CLI::App* program, const CLI::Error& error) {
  std::string with = "poold";
  for (const CLI::App* command : program->get_subcommands()) with += " " + command->get_name();
  return for_terminal(fmt::format("poold: {}; \"{} --help\" says more", error.what(), with)) + "\n";
}

std::string NarrowHelp::make_help(const CLI::App* app, std::string name,
                                  CLI::AppFormatMode mode) const {
  const std::string wide = Formatter::make_help(app, std::move(name), mode);
  std::string text;
  std::string_view rest = wide;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    text += narrow(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return text;
}

}  // namespace portpool
