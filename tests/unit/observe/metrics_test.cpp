// Pages made of reports that no test could bring about in a running daemon.
#include "observe/metrics.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <sstream>

#include "lanes/segment.h"

namespace portpool::test {
namespace {

LaneReport lane(const std::string& pool, int n, std::uint32_t in_use) {
  LaneReport report;
  report.pool = pool;
  report.key.source = address_from_v4(in_addr{htonl(0x0A000001)});
  report.key.destination = address_from_v4(in_addr{htonl(0x0A000100U + static_cast<unsigned>(n))});
  report.key.destination_port = 443;
  report.counts = {.capacity = 100, .in_use = in_use, .free = 100 - in_use};
  return report;
}

bool has_line(const std::string& page, const std::string& wanted) {
  return ("\n" + page).find("\n" + wanted + "\n") != std::string::npos;
}

std::size_t lines_with(const std::string& page, const std::string& text) {
  std::istringstream lines(page);
  std::size_t count = 0;
  for (std::string line; std::getline(lines, line);) count += line.starts_with(text) ? 1 : 0;
  return count;
}

TEST(MetricsText, OthersAreAddedUpPerPool) {
  Report report;
  report.pools = {"edge", "default", "idle"};
  for (int i = 0; i < 23; ++i) report.lanes.push_back(lane("edge", i, 90));
  for (int i = 30; i < 35; ++i) report.lanes.push_back(lane("default", i, 10));
  const std::string page = metrics_text(report, {});
  const std::string other = "source=\"other\",destination=\"other\",";
  EXPECT_TRUE(
      has_line(page, "portpool_lane_ports{pool=\"edge\"," + other + "state=\"in_use\"} 270"));
  EXPECT_TRUE(
      has_line(page, "portpool_lane_ports{pool=\"default\"," + other + "state=\"free\"} 450"));
  EXPECT_TRUE(has_line(page, "portpool_pool_ports{pool=\"edge\",state=\"in_use\"} 2070"));
  EXPECT_TRUE(has_line(page, "portpool_pool_ports{pool=\"default\",state=\"in_use\"} 50"));
  EXPECT_TRUE(has_line(page, "portpool_pool_ports{pool=\"idle\",state=\"free\"} 0"));
  EXPECT_EQ(lines_with(page, "portpool_lane_saturation_ratio{"), 20U);
  EXPECT_TRUE(has_line(page,
                       "portpool_lane_saturation_ratio{pool=\"edge\",source=\"10.0.0.1\","
                       "destination=\"10.0.1.0:443\"} 0.9"));
}

TEST(MetricsText, TwoPoolsOfOneNameAreOne) {
  Report report;
  report.pools = {"edge", "edge"};
  report.lanes = {lane("edge", 1, 5), lane("edge", 2, 6)};
  const std::string page = metrics_text(report, {});
  EXPECT_EQ(lines_with(page, "portpool_pool_ports{"), 4U);
  EXPECT_TRUE(has_line(page, "portpool_pool_ports{pool=\"edge\",state=\"in_use\"} 11"));
}

TEST(MetricsText, ALaneWithoutPortsIsFull) {
  Report report;
  report.lanes = {lane("edge", 1, 0)};
  report.lanes[0].counts = {};
  EXPECT_EQ(lines_with(metrics_text(report, {}), "portpool_lane_saturation_ratio{"), 1U);
  EXPECT_NE(metrics_text(report, {}).find("443\"} 1\n"), std::string::npos);
}

TEST(MetricsText, EachBucketHoldsWhatWasShorterThanItsBound) {
  const auto histogram = std::make_unique<LatencyHistogram>();
  for (const std::uint64_t ns :
       {std::uint64_t{1}, std::uint64_t{127}, std::uint64_t{128}, std::uint64_t{1023},
        std::uint64_t{1024}, (std::uint64_t{1} << 33) - 1, std::uint64_t{1} << 33,
        std::uint64_t{1} << 40}) {
    histogram->record(ns);
  }
  Report report;
  report.latency[0].blocking = true;
  report.latency[0].latency.add(*histogram);
  const std::string page = metrics_text(report, {});
  const auto bucket = [](const std::string& bound, int count) {
    return "portpool_connect_duration_seconds_bucket{arm=\"pool\",path=\"pool\",mode=\"blocking\","
           "le=\"" +
           bound + "\"} " + std::to_string(count);
  };
  EXPECT_TRUE(has_line(page, bucket("1.28e-07", 2))) << page;
  EXPECT_TRUE(has_line(page, bucket("2.56e-07", 3)));
  EXPECT_TRUE(has_line(page, bucket("1.024e-06", 4)));
  EXPECT_TRUE(has_line(page, bucket("2.048e-06", 5)));
  EXPECT_NE(page.find("le=\"8.589934592"), std::string::npos);
  EXPECT_EQ(page.find("le=\"17.1"), std::string::npos) << "the last bucket has no upper end";
  EXPECT_TRUE(has_line(page, bucket("+Inf", 8)));
}

TEST(MetricsText, SaysWhetherTheLastReloadSucceeded) {
  const Report report;
  EXPECT_TRUE(has_line(metrics_text(report, {}), "portpool_config_last_reload_successful 1"));
  EXPECT_TRUE(has_line(metrics_text(report, {.last_reload_taken = false}),
                       "portpool_config_last_reload_successful 0"));
}

// Prometheus refuses a whole page for one label that is not UTF-8, and clients can write anything.
TEST(ReadReport, ANameThatIsNotUtf8IsNotPassedOn) {
  Segment segment({.lanes = 1, .shards = 1}, {.cookie = 1, .inode = 1});
  segment.publish();
  const std::vector<std::string> names = {"gr\xC3\xBCn", "\xE2\x82\xAC", "\xF0\x9F\x8C\x8A",
                                          "plain"};
  segment.set_pool_names(names);
  EXPECT_EQ(read_report(segment.view()).pools, names);
  for (const char* bad :
       {"\xFF", "a\xC3", "\xC0\x80", "\xED\xA0\x80", "\x80", "\xE2\x82", "\xF5\x80\x80\x80"}) {
    std::strcpy(segment.writer().pool(3).name, bad);
    EXPECT_EQ(read_report(segment.view()).pools[3], "(damaged)");
    std::strcpy(segment.header().daemon_version, bad);
    EXPECT_EQ(read_report(segment.view()).version, "(damaged)");
  }
}

TEST(MetricsText, WhoIsExpectedAndWasNotLookedForYetIsLeftOut) {
  Report report;
  EXPECT_EQ(metrics_text(report, {}).find("portpool_expected_clients"), std::string::npos);
  report.expected = {{ExpectedKind::unit, "a.service", ExpectedState::unknown},
                     {ExpectedKind::unit, "b.service", ExpectedState::served},
                     {ExpectedKind::program, "b.service", ExpectedState::unattached}};
  const std::string page = metrics_text(report, {});
  EXPECT_EQ(lines_with(page, "portpool_expected_clients{"), 2U);
  EXPECT_TRUE(has_line(page, "portpool_expected_clients{kind=\"unit\",name=\"b.service\"} 1"));
  EXPECT_TRUE(has_line(page, "portpool_expected_clients{kind=\"program\",name=\"b.service\"} 0"));
}

// The whole of it, with all that can be named: docs/metrics.md says how many series there are.
TEST(MetricsText, TheNumberOfSeriesIsBounded) {
  Segment segment({.lanes = 1, .shards = 1}, {.cookie = 1, .inode = 1});
  segment.publish();
  Report report = read_report(segment.view());
  const auto series = [&] {
    const std::string page = metrics_text(report, {});
    return lines_with(page, "portpool_");
  };
  EXPECT_LE(series(), 270U);
  const std::size_t bare = series();
  for (int i = 0; i < 16384; ++i) report.lanes.push_back(lane("edge", i, 90));
  for (int i = 0; i < 64; ++i) {
    report.expected.push_back({ExpectedKind::program, std::to_string(i), ExpectedState::absent});
  }
  EXPECT_EQ(series(), bare + 20 * 5 + 8 + 64);
}

TEST(MetricsText, TellsHowFullTheTableIs) {
  Report report;
  report.lane_places = 4;
  for (int i = 0; i < 3; ++i) report.lanes.push_back(lane("edge", i, 90));
  const std::string page = metrics_text(report, {});
  EXPECT_TRUE(has_line(page, "portpool_lane_table_places 4")) << page;
  EXPECT_TRUE(has_line(page, "portpool_lane_table_in_service 3")) << page;
}

}  // namespace
}  // namespace portpool::test
