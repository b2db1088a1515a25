// `poold status --hgrm`: the form that HdrHistogram's plotters read, and the numbers in it.
#include <gtest/gtest.h>

#include <regex>
#include <sstream>

#include "system/integration/common.h"

namespace portpool::test {
namespace {

struct Row {
  double value_us;
  double percentile;
  std::uint64_t count;
};

// As HdrHistogram's HistogramLogProcessor and plotFiles.html take it apart: blank lines and #
// skipped, columns by white space.
struct Distribution {
  explicit Distribution(const std::string& text) {
    static const std::regex kRow(
        " *([0-9]+\\.[0-9]{3}) ([01]\\.[0-9]{12}) +([0-9]+)( +([0-9]+\\.[0-9]{2}))?");
    std::istringstream lines(text);
    std::string line;
    std::getline(lines, line);
    EXPECT_EQ(line, "       Value     Percentile TotalCount 1/(1-Percentile)");
    std::getline(lines, line);
    EXPECT_EQ(line, "");
    std::smatch match;
    while (std::getline(lines, line) && !line.starts_with("#")) {
      if (!std::regex_match(line, match, kRow)) {
        ADD_FAILURE() << "not a row: " << line;
        continue;
      }
      rows.push_back({std::stod(match[1]), std::stod(match[2]), std::stoull(match[3])});
      EXPECT_EQ(match[4].matched, rows.back().percentile < 1) << line;
      if (match[4].matched) {
        EXPECT_NEAR(std::stod(match[5]), 1 / (1 - rows.back().percentile),
                    0.006 + 1e-6 * std::stod(match[5]))
            << line;
      }
    }
    static const std::regex kFooter(
        "#\\[Mean    = +([0-9.]+), StdDeviation   = +([0-9.]+)\\]\n"
        "#\\[Max     = +([0-9.]+), Total count    = +([0-9]+)\\]\n"
        "#\\[Buckets = +28, SubBuckets     = +32\\]\n");
    const std::string footer = text.substr(std::min(text.find('#'), text.size()));
    if (!std::regex_match(footer, match, kFooter)) {
      ADD_FAILURE() << footer;
      return;
    }
    mean_us = std::stod(match[1]);
    max_us = std::stod(match[3]);
    total = std::stoull(match[4]);
  }

  std::vector<Row> rows;
  double mean_us = -1;
  double max_us = -1;
  std::uint64_t total = 0;
};

GUEST(hgrm_connects) {
  for (int i = 0; i < 300; ++i) close_with_reset(connected_socket(SocketAddress(kEcho)));
}

std::string hgrm(const Poold& poold, std::vector<std::string> options) {
  options.insert(options.begin(), {poold_path(), "status", "--hgrm"});
  Process status(options, {"PORTPOOL_SOCKET=" + poold.socket()});
  EXPECT_EQ(status.wait(), 0) << status.err();
  return status.out();
}

TEST_F(PooledNet, DistributionAgreesWithStatus) {
  ASSERT_EQ(run_guest("hgrm_connects", poold.shim()), GuestResult{});
  const Distribution pool(hgrm(poold, {"--path", "pool"}));
  const nlohmann::json status = poold.status();
  nlohmann::json row;
  for (const nlohmann::json& part : status.at("latency")) {
    if (part.at("path") == "pool") row = part;
  }
  ASSERT_FALSE(row.is_null());
  EXPECT_EQ(pool.total, row.at("count"));
  EXPECT_GE(pool.total, 300U);
  EXPECT_NEAR(pool.max_us, row.at("max_us"), 0.001);
  ASSERT_GT(pool.rows.size(), 10U);
  EXPECT_EQ(pool.rows.front().percentile, 0);
  EXPECT_EQ(pool.rows.back().percentile, 1);
  EXPECT_EQ(pool.rows.back().count, pool.total);
  EXPECT_NEAR(pool.rows.back().value_us, pool.max_us, 0.001);
  EXPECT_GT(pool.mean_us, pool.rows.front().value_us * 0.9);
  EXPECT_LT(pool.mean_us, pool.max_us);
  for (std::size_t i = 1; i < pool.rows.size(); ++i) {
    EXPECT_GE(pool.rows[i].value_us, pool.rows[i - 1].value_us);
    EXPECT_GT(pool.rows[i].percentile, pool.rows[i - 1].percentile);
    EXPECT_GE(pool.rows[i].count, pool.rows[i - 1].count);
    EXPECT_GE(static_cast<double>(pool.rows[i].count),
              pool.rows[i].percentile * static_cast<double>(pool.total) - 1e-6);
    for (const auto& [level, key] : {std::pair{0.5, "p50_us"}, {0.9, "p90_us"}}) {
      if (pool.rows[i].percentile == level) {
        EXPECT_NEAR(pool.rows[i].value_us, row.at(key), 0.001) << key;
      }
    }
  }
}

TEST_F(PooledNet, ArmAndPathChoose) {
  ASSERT_EQ(run_guest("hgrm_connects", poold.shim()), GuestResult{});
  ASSERT_EQ(run_guest("hgrm_connects", poold.shim({"PORTPOOL_MODE=observe"})), GuestResult{});
  const auto total = [&](const std::vector<std::string>& options) {
    return Distribution(hgrm(poold, options)).total;
  };
  const nlohmann::json connects = poold.status().at("connects");
  EXPECT_EQ(total({"--arm", "kernel"}), 300U);
  EXPECT_EQ(total({"--arm", "kernel", "--path", "pool"}), 0U);
  EXPECT_EQ(total({"--path", "kernel"}), connects.at("kernel"));
  EXPECT_EQ(total({"--path", "pool"}), connects.at("pool"));
  EXPECT_EQ(total({"--arm", "pool"}) + 300, total({}));
}

TEST_F(PooledNet, WrongUsageOfHgrm) {
  const std::vector<std::string> socket = {"PORTPOOL_SOCKET=" + poold.socket()};
  for (const std::vector<std::string>& options : std::vector<std::vector<std::string>>{
           {"--arm", "pool"}, {"--path", "pool"}, {"--hgrm", "--json"}, {"--hgrm", "--arm", "x"}}) {
    std::vector<std::string> command{poold_path(), "status"};
    command.insert(command.end(), options.begin(), options.end());
    EXPECT_EQ(Process(command, socket).wait(), 2) << options.back();
  }
}

}  // namespace
}  // namespace portpool::test
