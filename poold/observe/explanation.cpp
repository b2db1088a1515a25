#include "observe/explanation.h"

#include <algorithm>
#include <array>
#include <utility>

#include "observe/troubleshooting_page.h"

namespace portpool {
namespace {

// "[scale.md](scale.md)" becomes "docs/scale.md"; marks of code and emphasis go.
std::string plain(std::string_view markdown) {
  std::string text;
  while (!markdown.empty()) {
    const std::size_t middle = markdown.find("](");
    const std::size_t end = markdown.find(')');
    if (markdown.front() == '[' && middle != markdown.npos && middle < end &&
        end != markdown.npos) {
      text += "docs/";
      text += markdown.substr(middle + 2, end - middle - 2);
      markdown.remove_prefix(end + 1);
      continue;
    }
    if (markdown.front() != '`' && markdown.front() != '*') text += markdown.front();
    markdown.remove_prefix(1);
  }
  return text;
}

// A row of a table with three columns, of which the first is a word in code marks: "| `word` | b |
// c |".
std::optional<Explanation> read_row(std::string_view line) {
  if (!line.starts_with("| `")) return std::nullopt;
  std::array<std::string, 3> cells;
  std::size_t count = 0;
  line.remove_prefix(2);
  for (std::size_t bar; (bar = line.find(" |")) != line.npos; ++count) {
    if (count == cells.size()) return std::nullopt;
    cells[count] = plain(line.substr(0, bar));
    line.remove_prefix(std::min(line.size(), bar + 3));
  }
  if (count != cells.size()) return std::nullopt;
  return Explanation{std::move(cells[0]), std::move(cells[1]), std::move(cells[2])};
}

}  // namespace

std::vector<Explanation> explanations() {
  std::vector<Explanation> found;
  std::string_view page = kTroubleshootingPage;
  while (!page.empty()) {
    const std::size_t end = std::min(page.find('\n'), page.size() - 1);
    if (auto row = read_row(page.substr(0, end))) found.push_back(std::move(*row));
    page.remove_prefix(end + 1);
  }
  return found;
}

std::optional<Explanation> explain(std::string_view name) {
  for (Explanation& explanation : explanations()) {
    if (explanation.name == name) return std::move(explanation);
  }
  return std::nullopt;
}

}  // namespace portpool
