#include <fmt/format.h>

#include <cmath>

#include "base/number_text.h"
#include "base/text.h"
#include "compare/comparison.h"
#include "compare/interval_text.h"

namespace portpool {
namespace {

// Words from outside, on one line, so that they stay words: nothing of Markdown or HTML begins.
std::string markdown_text(const std::string& words) {
  std::string text;
  for (const char c : for_terminal(words)) {
    if (std::string_view("\\`*_[]<>&|#~").find(c) != std::string_view::npos) text += '\\';
    text += c;
  }
  return text;
}

std::string markdown_row(const std::vector<std::string>& cells) {
  std::string text = "|";
  for (const std::string& cell : cells) text += " " + cell + " |";
  return text + "\n";
}

std::string us_or_nothing(const std::optional<Interval>& found) {
  return found ? us_text(*found) : "";
}

std::string ratio_or_nothing(const std::optional<Interval>& found) {
  if (!found) return "";
  return excludes_one(*found) ? "**" + ratio_text(*found) + "**" : ratio_text(*found);
}

std::string latency_table(const Comparison& c) {
  std::string text = "| connect(), us | pool | kernel | kernel / pool |\n|---|---|---|---|\n";
  for (const QuantileRow& row : c.quantiles) {
    text += markdown_row({row.label, us_or_nothing(row.pool), us_or_nothing(row.kernel),
                          ratio_or_nothing(row.ratio)});
  }
  text += markdown_row({"CPU time, mean", us_or_nothing(c.pool.cpu_us),
                        us_or_nothing(c.kernel.cpu_us), ratio_or_nothing(c.cpu_ratio)});
  const auto counts = [&](const char* name, const auto& count) {
    text += markdown_row({name, count_text(count(c.pool)), count_text(count(c.kernel)), ""});
  };
  counts("blocks", [](const ArmTotals& arm) { return arm.blocks; });
  counts("connects", [](const ArmTotals& arm) { return arm.latency.count; });
  counts("errors", [](const ArmTotals& arm) { return arm.latency.errors; });
  text += markdown_row({"fell back to kernel", count_text(c.pool.fallbacks), "", ""});
  return text +
         "\nIn brackets: 95 % intervals by bootstrap over the pairs of blocks. Bold: the interval "
         "of the ratio does not contain 1.\n";
}

std::string against_table(const Against& against) {
  std::string text = fmt::format(
      "\n## Against {}\n\n| figure | old | new | new / old |\n"
      "|---|---|---|---|\n",
      markdown_text(against.file));
  for (const Change& change : against.changes) {
    if (!change.before && !change.now) continue;
    text += markdown_row(
        {"`" + change.figure + "`", change.before ? us_text(change.before->value) : "",
         change.now ? us_text(change.now->value) : "", ratio_or_nothing(change.ratio)});
  }
  return text + "\n" + kAgainstCaution + "\n";
}

}  // namespace

std::string comparison_as_markdown(const Comparison& c, const Trial& trial) {
  std::string text = "# connect() by pool and by kernel\n\n**" + markdown_text(c.sentence) + "**\n";
  if (!c.tail.empty()) text += "\n" + markdown_text(c.tail) + "\n";
  text += "\nMeasured: " + markdown_text(trial.subject) + "\n\n";
  if (c.pool.latency.count + c.kernel.latency.count > 0) text += latency_table(c);
  if (c.against && c.connects() > 0) text += against_table(*c.against);
  if (!c.notes.empty()) text += "\n";
  for (const std::string& note : c.notes) text += "- " + markdown_text(note) + "\n";
  text += "\n| | |\n|---|---|\n";
  for (const auto& [name, value] : trial.environment) {
    text += markdown_row({markdown_text(name), markdown_text(value)});
  }
  return text;
}

}  // namespace portpool
