#include "compare/figures.h"

#include <fmt/format.h>

#include <array>
#include <cmath>

#include "base/clock.h"

namespace portpool {
namespace {

constexpr std::array<const char*, 4> kPercentiles{"p50", "p90", "p99", "p999"};

std::optional<double> if_finite(double value) {
  return std::isfinite(value) ? std::optional(value) : std::nullopt;
}

Figure figure_of(const std::string& name, const std::optional<Interval>& found) {
  if (!found) return {name, {}, {}, {}};
  return {name, if_finite(found->value), if_finite(found->low), if_finite(found->high)};
}

void add_counts(std::vector<Figure>& figures, const std::string& arm, const ArmTotals& totals) {
  const auto add = [&](const char* name, std::optional<double> value) {
    figures.push_back({arm + name, value, {}, {}});
  };
  const auto count = [](std::uint64_t value) { return static_cast<double>(value); };
  add("_connects", count(totals.latency.count));
  add("_errors", count(totals.latency.errors));
  add("_EADDRNOTAVAIL", count(totals.latency.no_port));
  add("_fallbacks", count(totals.fallbacks));
  const bool any = totals.latency.count > 0;
  add("_max_us", any ? std::optional(to_us(totals.latency.max_ns)) : std::nullopt);
}

// A field of CSV: quoted where it must be, its quotes doubled.
std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + '"';
}

std::string csv_number(const std::optional<double>& value) {
  return value ? fmt::format("{}", *value) : "";
}

}  // namespace

std::vector<Estimate> estimates_of(const Comparison& c) {
  std::vector<Estimate> all;
  for (std::size_t i = 0; i < kPercentiles.size(); ++i) {
    const QuantileRow& row = c.quantiles[i];
    const std::string name = kPercentiles[i];
    all.push_back({"pool_" + name + "_us", row.pool});
    all.push_back({"kernel_" + name + "_us", row.kernel});
    all.push_back({name + "_ratio", row.ratio});
  }
  all.push_back({"pool_cpu_us", c.pool.cpu_us});
  all.push_back({"kernel_cpu_us", c.kernel.cpu_us});
  all.push_back({"cpu_ratio", c.cpu_ratio});
  return all;
}

std::vector<Figure> figures_of(const Comparison& c) {
  std::vector<Figure> figures;
  for (const Estimate& estimate : estimates_of(c)) {
    figures.push_back(figure_of(estimate.name, estimate.found));
  }
  if (c.against) {
    for (const Change& change : c.against->changes) {
      figures.push_back(figure_of(change.figure + "_change", change.ratio));
    }
  }
  const bool tested = c.differences.size() >= kFewestPairs;
  figures.push_back({"p_value", tested ? std::optional(c.medians.p) : std::nullopt, {}, {}});
  figures.push_back({"pairs", static_cast<double>(c.pairs), {}, {}});
  add_counts(figures, "pool", c.pool);
  add_counts(figures, "kernel", c.kernel);
  return figures;
}

std::string comparison_as_csv(const Comparison& c, const Trial& trial) {
  std::string text = "figure,value,low,high\n";
  const auto words = [&](const char* name, const std::string& value) {
    text += fmt::format("{},{},,\n", name, csv_field(value));
  };
  words("verdict", name_of(c.verdict));
  words("subject", trial.subject);
  for (const auto& [name, value] : trial.environment) {
    if (name == "measured") words("measured", value);
  }
  for (const Figure& figure : figures_of(c)) {
    text += fmt::format("{},{},{},{}\n", figure.name, csv_number(figure.value),
                        csv_number(figure.low), csv_number(figure.high));
  }
  return text;
}

}  // namespace portpool
