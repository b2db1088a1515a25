#include <fmt/format.h>

#include "base/number_text.h"
#include "base/text.h"
#include "compare/comparison.h"
#include "compare/interval_text.h"

namespace portpool {
namespace {

template <class Value>
std::string or_dash(const std::optional<Value>& value, std::string (*text)(const Value&)) {
  return value ? text(*value) : "-";
}

std::string row(const std::string& label, const std::string& pool, const std::string& kernel,
                const std::string& ratio = "") {
  std::string line = fmt::format("  {:<22}{:<26}{:<26}{}", label, pool, kernel, ratio);
  line.erase(line.find_last_not_of(' ') + 1);
  return line + "\n";
}

std::string ratio_cell(const std::optional<Interval>& ratio) {
  return ratio ? ratio_text(*ratio) + (excludes_one(*ratio) ? " *" : "") : "-";
}

std::string errors_cell(const ArmTotals& arm) {
  if (arm.latency.no_port == 0) return count_text(arm.latency.errors);
  return fmt::format("{} ({} EADDRNOTAVAIL)", count_text(arm.latency.errors),
                     count_text(arm.latency.no_port));
}

std::string occupancy_cell(const ArmTotals& arm) {
  if (!arm.occupancy) return "-";
  return fmt::format("{} ({} to {})", percent_text(arm.occupancy->median),
                     percent_text(arm.occupancy->low), percent_text(arm.occupancy->high));
}

std::string rate_cell(const ArmTotals& arm) {
  if (arm.seconds <= 0) return "-";
  return count_text(
      static_cast<std::uint64_t>(static_cast<double>(arm.latency.count) / arm.seconds));
}

std::string table(const Comparison& c) {
  std::string text = row("connect(), us", "pool", "kernel", "kernel / pool");
  for (const QuantileRow& quantile : c.quantiles) {
    text += row("  " + quantile.label, or_dash<Interval>(quantile.pool, us_text),
                or_dash<Interval>(quantile.kernel, us_text), ratio_cell(quantile.ratio));
  }
  text += row("  CPU time, mean", or_dash<Interval>(c.pool.cpu_us, us_text),
              or_dash<Interval>(c.kernel.cpu_us, us_text), ratio_cell(c.cpu_ratio));
  text += row("blocks", std::to_string(c.pool.blocks), std::to_string(c.kernel.blocks));
  text += row("connects", count_text(c.pool.latency.count), count_text(c.kernel.latency.count));
  text += row("connects a second", rate_cell(c.pool), rate_cell(c.kernel));
  text += row("errors", errors_cell(c.pool), errors_cell(c.kernel));
  text += row("fell back to kernel", count_text(c.pool.fallbacks), "");
  text += row("ports taken", occupancy_cell(c.pool), occupancy_cell(c.kernel));
  return text;
}

std::string against_earlier(const Against& against) {
  std::string text = fmt::format("Against {}{}\n", for_terminal(against.file),
                                 against.measured.empty() ? "" : ", of " + against.measured);
  text += row("  figure", "old", "new", "new / old");
  for (const Change& change : against.changes) {
    if (!change.before && !change.now) continue;
    const auto value = [](const std::optional<Interval>& found) {
      return found ? us_text(found->value) : "-";
    };
    text += row("  " + change.figure, value(change.before), value(change.now),
                ratio_cell(change.ratio));
  }
  return text + wrapped(kAgainstCaution, kTerminalWidth, 2) + "\n";
}

std::string fallback_reasons(const Trial& trial) {
  std::string text;
  for (std::size_t i = 0; i < kFallbackReasons; ++i) {
    if (trial.total.fallbacks[i] == 0) continue;
    text += fmt::format("  {:>12}  {}\n", count_text(trial.total.fallbacks[i]),
                        kFallbackTexts[i].sentence);
  }
  if (text.empty()) return text;
  return "Why the pool's arm took the kernel's path (whole time)\n" + text + "\n";
}

}  // namespace

std::string comparison_as_text(const Comparison& c, const Trial& trial) {
  std::string text = c.sentence + "\n" + (c.tail.empty() ? "" : c.tail + "\n");
  if (c.connects() > 0) {
    text +=
        "\n" + table(c) +
        "  in brackets: 95 % intervals by bootstrap over the pairs of blocks, for ports taken the "
        "range\n  *: the interval of the ratio does not contain 1\n\n" +
        fallback_reasons(trial);
  }
  if (c.against && c.connects() > 0) text += against_earlier(*c.against);
  for (const std::string& note : c.notes) text += "Note: " + note + "\n";
  return lines_for_terminal(text);
}

}  // namespace portpool
