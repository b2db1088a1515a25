#include <cmath>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/json_text.h"
#include "compare/comparison.h"
#include "observe/quantile.h"

namespace portpool {
namespace {

using Json = nlohmann::ordered_json;

// Also turns what is not a number into null.
Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

Json interval(const std::optional<Interval>& found) {
  if (!found) return nullptr;
  return {
      {"value", number(found->value)}, {"low", number(found->low)}, {"high", number(found->high)}};
}

Json quantiles(const Comparison& c) {
  Json list = Json::array();
  for (const QuantileRow& row : c.quantiles) {
    list.push_back({{"percentile", row.q * 100},
                    {"pool_us", interval(row.pool)},
                    {"kernel_us", interval(row.kernel)},
                    {"ratio", interval(row.ratio)},
                    {"significant", row.differs()}});
  }
  return list;
}

Json arm(const ArmTotals& totals) {
  Json out = {{"blocks", totals.blocks},
              {"seconds", totals.seconds},
              {"connects", totals.latency.count},
              {"fallbacks", totals.fallbacks},
              {"errors", totals.latency.errors},
              {"EADDRNOTAVAIL", totals.latency.no_port},
              {"max_us", to_us(totals.latency.max_ns)},
              {"cpu_us", interval(totals.cpu_us)},
              {"cpu_samples", totals.latency.cpu_samples},
              {"occupancy", nullptr}};
  if (totals.occupancy) {
    out["occupancy"] = {{"low", totals.occupancy->low},
                        {"median", totals.occupancy->median},
                        {"high", totals.occupancy->high}};
  }
  return out;
}

Json against(const std::optional<Against>& found) {
  if (!found) return nullptr;
  Json changes = Json::array();
  for (const Change& change : found->changes) {
    changes.push_back({{"figure", change.figure},
                       {"before", interval(change.before)},
                       {"now", interval(change.now)},
                       {"change", interval(change.ratio)}});
  }
  return {{"file", found->file},
          {"subject", found->subject},
          {"measured", found->measured},
          {"changes", changes}};
}

Json blocks(const Comparison& c) {
  Json list = Json::array();
  for (const Block& block : c.blocks) {
    list.push_back({{"number", block.number},
                    {"merged", block.merged},
                    {"arm", name_of(block.arm)},
                    {"start_s", block.start_s},
                    {"length_s", block.length_s},
                    {"connects", block.latency.count},
                    {"fallbacks", block.fallbacks},
                    {"errors", block.latency.errors},
                    {"p50_us", number(quantile_us(block.latency, 0.5))},
                    {"p99_us", number(quantile_us(block.latency, 0.99))},
                    {"occupancy", number(block.occupancy)}});
  }
  return list;
}

}  // namespace

std::string comparison_as_json(const Comparison& c, const Trial& trial) {
  Json fallbacks = Json::object();
  for (std::size_t i = 0; i < kFallbackReasons; ++i) {
    const std::uint64_t count = trial.total.fallbacks[i];
    if (count != 0) fallbacks[std::string(kFallbackTexts[i].name)] = count;
  }
  Json environment = Json::object();
  for (const auto& [name, value] : trial.environment) environment[name] = value;
  const Json root = {{"schema", 1},
                     {"verdict", name_of(c.verdict)},
                     {"sentence", c.sentence},
                     {"tail", c.tail},
                     {"notes", c.notes},
                     {"subject", trial.subject},
                     {"settings",
                      {{"block_s", trial.block_s},
                       {"dropped_s", trial.dropped_s},
                       {"seed", trial.seed},
                       {"resamples", kResamples}}},
                     {"pairs", c.pairs},
                     {"significance",
                      {{"test",
                        "Wilcoxon signed-rank over the logarithms of the pairs' ratios of medians, "
                        "kernel / pool, two-sided"},
                       {"u", nullptr},  // of the test that was here before
                       {"w", c.medians.w},
                       {"zeros", c.medians.zeros},
                       {"p", c.medians.p},
                       {"exact", c.medians.exact}}},
                     {"percentiles", quantiles(c)},
                     {"cpu_ratio", interval(c.cpu_ratio)},
                     {"baseline", against(c.against)},
                     {"arms", {{"pool", arm(c.pool)}, {"kernel", arm(c.kernel)}}},
                     {"fallbacks", fallbacks},
                     {"blocks", blocks(c)},
                     {"environment", environment}};
  return json_text(root);
}

}  // namespace portpool
