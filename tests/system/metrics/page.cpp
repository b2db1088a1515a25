// /metrics of a real poold: its form, and that it says what `poold status --json` says.
#include <gtest/gtest.h>

#include <cmath>
#include <ctime>

#include "system/integration/common.h"
#include "system/metrics/exposition.h"
#include "system/metrics/http_get.h"

namespace portpool::test {
namespace {

const std::string kMetrics = "127.0.0.1:9481";

class MeasuredNet : public EchoNet {
 protected:
  MeasuredNet() { EXPECT_TRUE(metrics_answer_at(kMetrics)) << poold.process().err(); }

  Exposition scrape() const {
    const HttpAnswer answer = http_get(kMetrics, "/metrics");
    EXPECT_EQ(answer.status, 200) << answer.head;
    return Exposition(answer.body);
  }

  Poold poold{"metrics_listen = \"" + kMetrics + "\"\n"};
};

GUEST(metrics_all_results) {
  for (int i = 0; i < 5; ++i) close_with_reset(connected_socket(SocketAddress(kEcho)));
  // Refused: nobody listens there.
  CHECK_THAT(connect_error(tcp_socket(AF_INET), SocketAddress("127.0.0.1:9003")) == ECONNREFUSED);
  // Non-blocking.
  const int fd = tcp_socket(AF_INET, SOCK_NONBLOCK);
  CHECK_THAT(connect_error(fd, SocketAddress(kEcho)) == EINPROGRESS);
  CHECK_THAT(finish_connect(fd) == 0);
  close_with_reset(fd);
}

GUEST(metrics_fill_lane) {
  for (;;) {
    const int fd = tcp_socket(AF_INET);
    const int error = connect_error(fd, SocketAddress(kEcho));
    if (error == EADDRNOTAVAIL) break;
    CHECK_THAT(error == 0);
  }
  say("full");
  await_line();
}

// What of the status does not change by itself.
nlohmann::json still(nlohmann::json status) {
  for (const char* key : {"daemon", "reconcile"}) status.erase(key);
  // The one who asks may be gone itself before its turn comes.
  status.at("clients").at("attaches").erase("gone");
  return status;
}

void expect_equal(const Exposition& page, const nlohmann::json& status) {
  for (const auto& [result, count] : status.at("results").items()) {
    EXPECT_EQ(page.sum("portpool_connects_total", {{"result", result}}), count) << result;
  }
  for (const char* path : {"pool", "kernel"}) {
    EXPECT_EQ(page.sum("portpool_connects_total", {{"path", path}}),
              status.at("connects").at(path));
  }
  for (const auto& [labels, count] : page.series("portpool_fallbacks_total")) {
    EXPECT_EQ(count, fallbacks(status, labels.at("reason"))) << labels.at("reason");
  }
  EXPECT_EQ(page.value("portpool_rejections_total"), status.at("rejections"));
  EXPECT_EQ(page.value("portpool_clients"), status.at("clients").at("attached"));
  for (const auto& [result, count] : status.at("clients").at("attaches").items()) {
    EXPECT_EQ(page.value("portpool_attaches_total", {{"result", result}}), count) << result;
  }
  EXPECT_EQ(page.value("portpool_lane_table_in_service"), status.at("lane_table").at("taken"));
  EXPECT_EQ(page.value("portpool_lane_table_places"), status.at("lane_table").at("places"));
  for (const nlohmann::json& row : status.at("latency")) {
    const Labels labels = {{"arm", row.at("arm")},
                           {"path", row.at("path")},
                           {"mode", row.at("blocking") ? "blocking" : "nonblocking"}};
    EXPECT_EQ(page.value("portpool_connect_duration_seconds_count", labels), row.at("count"));
  }
  for (const nlohmann::json& lane : status.at("lanes")) {
    for (const char* state : {"in_use", "quarantined", "blocked", "free"}) {
      EXPECT_EQ(page.value("portpool_lane_ports", {{"pool", lane.at("pool")},
                                                   {"source", lane.at("source")},
                                                   {"destination", lane.at("destination")},
                                                   {"state", state}}),
                lane.at(state))
          << lane << state;
    }
  }
}

TEST_F(MeasuredNet, SaysWhatStatusSays) {
  poold.make_lanes({kEcho});
  const GuestResult result = run_guest("metrics_all_results", poold.shim());
  ASSERT_EQ(result.status, 0) << result.err;
  // Compared once nothing moves: two readings of the status with the same content around the page.
  nlohmann::json before;
  std::string text;
  EXPECT_TRUE(eventually([&] {
    before = still(poold.status());
    text = http_get(kMetrics, "/metrics").body;
    return before == still(poold.status()) && before.at("clients").at("attached") == 0;
  }));
  const Exposition page(text);
  expect_equal(page, before);
  const auto connects = [&](const char* path, const char* outcome) {
    return page.value("portpool_connects_total", {{"path", path}, {"result", outcome}});
  };
  EXPECT_GE(connects("pool", "ok"), 5);
  EXPECT_EQ(connects("pool", "in_progress"), 1);
  EXPECT_EQ(connects("kernel", "in_progress"), 0);
  EXPECT_GE(connects("kernel", "ok"), 1) << "the connect that asked for the lane";
  EXPECT_EQ(page.sum("portpool_connects_total", {{"result", "ECONNREFUSED"}}), 1);
}

TEST_F(MeasuredNet, HistogramsAreCumulativeAtPowersOfTwo) {
  poold.make_lanes({kEcho});
  ASSERT_EQ(run_guest("echo_often", poold.shim(), {kEcho, "20"}), GuestResult{});
  const Exposition page = scrape();
  std::map<Labels, std::map<double, double>> histograms;
  for (const auto& [series, count] : page.series("portpool_connect_duration_seconds_bucket")) {
    Labels labels = series;
    const double bound = std::stod(labels.at("le"));
    labels.erase("le");
    histograms[labels][bound] = count;
  }
  EXPECT_EQ(histograms.size(), 6U);
  for (const auto& [labels, buckets] : histograms) {
    double last = 0;
    for (const auto& [bound, count] : buckets) {
      EXPECT_GE(count, last);
      last = count;
      if (std::isinf(bound)) continue;
      const double octave = std::log2(bound * 1e9);
      EXPECT_NEAR(octave, std::round(octave), 1e-9) << bound;
    }
    EXPECT_TRUE(std::isinf(buckets.rbegin()->first));
    EXPECT_EQ(last, page.value("portpool_connect_duration_seconds_count", labels));
    const double sum = page.value("portpool_connect_duration_seconds_sum", labels);
    EXPECT_EQ(sum > 0, last > 0);
    EXPECT_LE(sum, last * 60);
  }
  const Labels pool = {{"arm", "pool"}, {"path", "pool"}, {"mode", "blocking"}};
  EXPECT_GE(page.value("portpool_connect_duration_seconds_count", pool), 20);
}

TEST_F(MeasuredNet, FamiliesAreThoseOfTheDocumentation) {
  const std::map<std::string, std::string> expected = {
      {"portpool_build_info", "gauge"},
      {"portpool_connects_total", "counter"},
      {"portpool_fallbacks_total", "counter"},
      {"portpool_rejections_total", "counter"},
      {"portpool_connect_duration_seconds", "histogram"},
      {"portpool_lane_ports", "gauge"},
      {"portpool_lane_saturation_ratio", "gauge"},
      {"portpool_lane_table_in_service", "gauge"},
      {"portpool_lane_table_places", "gauge"},
      {"portpool_pool_ports", "gauge"},
      {"portpool_clients", "gauge"},
      {"portpool_heartbeat_age_seconds", "gauge"},
      {"portpool_reconcile_duration_seconds", "summary"},
      {"portpool_host_ports_range", "gauge"},
      {"portpool_config_last_reload_successful", "gauge"},
      {"portpool_config_reloads_total", "counter"},
      {"portpool_config_hash", "gauge"},
      {"portpool_start_time_seconds", "gauge"},
      {"portpool_attaches_total", "counter"}};
  const Exposition page = scrape();
  EXPECT_EQ(page.families(), expected);
  EXPECT_EQ(page.value("portpool_host_ports_range"), kHighPort - kLowPort + 1);
  EXPECT_EQ(page.value("portpool_config_last_reload_successful"), 1);
  EXPECT_LT(page.value("portpool_heartbeat_age_seconds"), 60);
  EXPECT_NEAR(page.value("portpool_start_time_seconds"), static_cast<double>(std::time(nullptr)),
              600);
  const nlohmann::json daemon = poold.status().at("daemon");
  EXPECT_EQ(page.value("portpool_build_info",
                       {{"version", daemon.at("version")}, {"layout", daemon.at("layout")}}),
            1);
  EXPECT_EQ(page.value("portpool_pool_ports", {{"pool", "default"}, {"state", "in_use"}}), 0)
      << "a pool without a lane";
}

TEST_F(MeasuredNet, PromtoolFindsNothingToComplainAbout) {
  poold.make_lanes({kEcho, kOtherEcho});
  const TempDir directory;
  const std::string file = directory.write("metrics", http_get(kMetrics, "/metrics").body);
  Process promtool({"sh", "-c", "promtool check metrics <\"$0\"", file});
  EXPECT_EQ(promtool.wait(), 0) << promtool.err();
  EXPECT_EQ(promtool.out() + promtool.err(), "");
}

TEST_F(MeasuredNet, TwentyLanesAndTheSumOfTheOthers) {
  constexpr int kLanes = 24;
  net.set_port_range(kLowPort, kLowPort + 49);
  poold.restart();
  EXPECT_TRUE(metrics_answer_at(kMetrics));
  // One by one: a burst of requests may lose some.
  poold.make_lanes({kEcho});
  for (int i = 1; i < kLanes; ++i) {
    poold.make_lanes({"127.0.1." + std::to_string(i) + ":9001"});
  }
  Process holder = start_guest("metrics_fill_lane", poold.shim());
  holder.wait_for_output("full\n");
  EXPECT_TRUE(poold.eventually_status(
      [](const nlohmann::json& now) { return lane_of(now, kEcho).at("free") == 0; }));
  const Exposition page = scrape();
  const auto& lanes = page.series("portpool_lane_saturation_ratio");
  EXPECT_EQ(lanes.size(), 20U);
  EXPECT_EQ(page.sum("portpool_lane_saturation_ratio", {{"destination", kEcho}}), 1);
  EXPECT_EQ(page.series("portpool_lane_ports").size(), (20 + 1) * 4U);
  for (const auto& [labels, ports] : page.series("portpool_pool_ports")) {
    EXPECT_EQ(ports, page.sum("portpool_lane_ports", labels)) << labels.at("state");
  }
  double others = 0;
  for (const auto& [labels, ports] : page.series("portpool_lane_ports")) {
    if (labels.at("source") != "other") continue;
    EXPECT_EQ(labels.at("destination"), "other");
    others += ports;
  }
  EXPECT_EQ(others, (kLanes - 20) * 50.0);
  EXPECT_EQ(page.sum("portpool_pool_ports"), kLanes * 50.0);
  EXPECT_EQ(
      page.value("portpool_connects_total", {{"path", "kernel"}, {"result", "EADDRNOTAVAIL"}}), 1);
}

}  // namespace
}  // namespace portpool::test
