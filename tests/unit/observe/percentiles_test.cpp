// The same calls have the same percentiles wherever they are shown.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

#include "base/number_text.h"
#include "compare/comparison.h"
#include "observe/hgrm.h"
#include "observe/quantile.h"
#include "observe/report_text.h"
#include "observe/top/page.h"

namespace portpool::test {
namespace {

struct Shown {
  const char* key;
  double q;
};
constexpr Shown kShown[] = {{"p50_us", 0.5}, {"p90_us", 0.9}, {"p99_us", 0.99}, {"p999_us", 0.999}};

LatencySum some_calls() {
  const auto histogram = std::make_unique<LatencyHistogram>();
  std::mt19937_64 random{1};
  std::lognormal_distribution<double> latency(std::log(20'000.0), 1.5);
  for (int i = 0; i < 20'000; ++i) histogram->record(static_cast<std::uint64_t>(latency(random)));
  LatencySum sum;
  sum.add(*histogram);
  return sum;
}

Report report_of(const LatencySum& calls) {
  Report report;
  LatencyReport& part = report.latency[histogram_index(Route::pool, Route::pool, true)];
  part = {Route::pool, Route::pool, true, calls};
  return report;
}

class Percentiles : public ::testing::Test {
 protected:
  double us(double q) const { return quantile_us(calls, q); }

  const LatencySum calls = some_calls();
  const Report report = report_of(calls);
};

TEST_F(Percentiles, StatusAsJson) {
  const auto status = nlohmann::json::parse(report_as_json(report));
  const nlohmann::json& row = status.at("latency").at(0);
  for (const Shown& shown : kShown) EXPECT_DOUBLE_EQ(row.at(shown.key), us(shown.q)) << shown.key;
  EXPECT_DOUBLE_EQ(row.at("max_us"), us(1));
}

TEST_F(Percentiles, StatusAsText) {
  const std::string row = fmt::format("{:>11}{:>11}{:>11}{:>11}\n", time_text(us(0.5)),
                                      time_text(us(0.99)), time_text(us(0.999)), time_text(us(1)));
  EXPECT_NE(report_as_text(report).find(row), std::string::npos) << report_as_text(report);
  EXPECT_NE(report_summary(report).find(row), std::string::npos) << report_summary(report);
}

TEST_F(Percentiles, Hgrm) {
  std::istringstream lines(latency_as_hgrm(calls));
  int found = 0;
  for (std::string line; std::getline(lines, line);) {
    double value = 0;
    double level = -1;
    std::istringstream(line) >> value >> level;
    for (const double q : {0.5, 0.9, 1.0}) {
      if (level != q) continue;
      EXPECT_NEAR(value, us(q), 0.0006) << q;
      ++found;
    }
  }
  EXPECT_EQ(found, 3);
}

TEST_F(Percentiles, Top) {
  Snapshot snapshot;
  snapshot.alive = true;
  snapshot.seconds = 1;
  snapshot.window = report;
  std::string row;
  for (const double q : {0.5, 0.9, 0.99, 0.999, 1.0}) row += fmt::format("{:>8}", short_us(us(q)));
  std::string page;
  for (const Line& line : draw_text(snapshot, 120).lines) {
    for (const Span& span : line) page += span.text;
    page += "\n";
  }
  EXPECT_NE(page.find(row), std::string::npos) << page;
}

TEST_F(Percentiles, Comparison) {
  Trial trial;
  for (std::uint32_t number = 1; number <= 10; ++number) {
    Block block;
    block.number = number;
    block.length_s = 1;
    block.latency = calls;
    block.paths = {calls, {}};
    trial.blocks.push_back(block);
  }
  const portpool::Comparison comparison = compare(trial, false);
  for (const QuantileRow& row : comparison.quantiles) {
    ASSERT_TRUE(row.pool) << row.label;
    EXPECT_DOUBLE_EQ(row.pool->value, us(row.q)) << row.label;
  }
  const auto json = nlohmann::json::parse(comparison_as_json(comparison, trial));
  EXPECT_DOUBLE_EQ(json.at("blocks").at(0).at("p50_us"), us(0.5));
  EXPECT_DOUBLE_EQ(json.at("blocks").at(0).at("p99_us"), us(0.99));
}

}  // namespace
}  // namespace portpool::test
