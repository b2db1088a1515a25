// What `poold status` prints, from made-up figures.
#include "observe/report_text.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include <sstream>
#include <string>

namespace portpool::test {
namespace {

LaneReport lane(const char* destination, std::uint32_t free, std::uint32_t capacity = 1000) {
  LaneReport report;
  in6_addr raw{};
  inet_pton(AF_INET6, destination, &raw);
  report.key = {address_from_v6(raw), address_from_v6(raw), 443};
  report.pool = "default";
  report.counts.capacity = capacity;
  report.counts.free = free;
  report.counts.in_use = capacity - free;
  return report;
}

void add(Report& report, Route path, std::uint64_t calls, std::uint64_t ns = 20'000) {
  LatencyReport& part = report.latency[histogram_index(Route::pool, path, true)];
  part.arm = Route::pool;
  part.path = path;
  part.latency.buckets[latency_bucket(ns)] += calls;
  part.latency.count += calls;
  part.latency.max_ns = ns;
}

Report healthy() {
  Report report;
  report.version = "1.2.3";
  report.heartbeat_age_ms = 7;
  report.clients = 3;
  report.lane_places = 64;
  report.lanes = {lane("::ffff:10.0.0.1", 500)};
  add(report, Route::pool, 990);
  add(report, Route::kernel, 10);
  report.fallbacks[static_cast<std::size_t>(FallbackReason::k_no_lane)] = 10;
  return report;
}

TEST(Standing, WellServed) {
  EXPECT_EQ(standing(healthy()), "Served well: 99 % of 1,000 connects by the pool.");
}

TEST(Standing, WhoIsMissing) {
  Report report = healthy();
  const auto expect = [&](const char* name, ExpectedState state) {
    report.expected.push_back({ExpectedKind::program, name, state});
  };
  expect("well", ExpectedState::served);
  expect("unknown", ExpectedState::unknown);
  const std::string good = "Served well: 99 % of 1,000 connects by the pool.";
  EXPECT_EQ(standing(report), good);
  EXPECT_EQ(report_as_text(report).find("not served"), std::string::npos);
  expect("java", ExpectedState::absent);
  EXPECT_EQ(standing(report), good + " Expected and not served: java.");
  expect("a\033[31m", ExpectedState::unattached);
  expect("c", ExpectedState::observe);
  expect("d", ExpectedState::seccomp);
  EXPECT_EQ(standing(report), good + " Expected and not served: java, a?[31m, c and 1 more.");
  EXPECT_NE(report_as_text(report).find(
                "\n\nExpected and not served\n  java: no process of it is to be seen\n  a?[31m: it "
                "runs, and no process of it has attached to this poold\n"),
            std::string::npos)
      << report_as_text(report);
  report.stopped = true;
  EXPECT_EQ(standing(report), "On the kernel's path: poold was stopped.");
}

// What the configuration leaves to the kernel is no shortcoming.
TEST(Standing, KeptOutOfThePool) {
  Report report = healthy();
  add(report, Route::kernel, 5000);
  report.fallbacks[static_cast<std::size_t>(FallbackReason::k_no_pool)] = 5000;
  EXPECT_EQ(standing(report), "Served well: 99 % of 1,000 connects by the pool.");
  report = healthy();
  report.latency = {};
  add(report, Route::kernel, 7);
  report.fallbacks = {};
  report.fallbacks[static_cast<std::size_t>(FallbackReason::k_no_pool)] = 7;
  EXPECT_EQ(standing(report),
            "On the kernel's path by the configuration: 7 connects, all with pool = \"none\".");
}

TEST(Standing, NobodyAttached) {
  Report report;
  report.heartbeat_age_ms = 1;
  EXPECT_EQ(standing(report), "Nobody is attached, and nobody has been.");
  report = healthy();
  report.clients = 0;
  EXPECT_EQ(standing(report), "Nobody is attached now.");
}

TEST(Standing, RunningLow) {
  Report report = healthy();
  report.lanes = {lane("::ffff:10.0.0.1", 49), lane("::ffff:10.0.0.2", 49),
                  lane("::ffff:10.0.0.3", 50)};
  EXPECT_EQ(standing(report),
            "Running low toward 10.0.0.1:443 from 10.0.0.1: 49 of 1,000 ports free; 1 lane more "
            "like it.");
  report.lanes = {lane("2001:db8::1", 0)};
  EXPECT_EQ(standing(report), "No port is free toward [2001:db8::1]:443 from 2001:db8::1.");
}

TEST(Standing, OnTheKernelsPath) {
  Report report = healthy();
  report.fallbacks[static_cast<std::size_t>(FallbackReason::k_lane_full)] = 900;
  add(report, Route::kernel, 900);
  EXPECT_EQ(standing(report),
            "Partly on the kernel's path: 52 % of 1,900 connects by the pool; mostly because of "
            "lane_full (no port of the lane was free).");
  report.heartbeat_age_ms = kHeartbeatStaleMs + 1;
  EXPECT_EQ(standing(report), "On the kernel's path: poold's heartbeat has stopped.");
  report.stopped = true;
  EXPECT_EQ(standing(report), "On the kernel's path: poold was stopped.");
}

TEST(Standing, OtherModes) {
  Report report = healthy();
  report.control.mode = Mode::observe;
  EXPECT_TRUE(standing(report).starts_with("Observing: "));
  report.control.mode = Mode::ab;
  EXPECT_TRUE(standing(report).starts_with("Comparing pool and kernel in turn: "));
  // A lane that runs low says so in mode ab too.
  report.lanes = {lane("::ffff:10.0.0.1", 1)};
  EXPECT_TRUE(standing(report).starts_with("Running low"));
}

TEST(ReportText, FitsEightyColumnsWhateverTheNames) {
  Report report = healthy();
  report.lanes.push_back(lane("2001:db8:1111:2222:3333:4444:5555:6666", 1'000'000, 2'000'000));
  report.lanes.push_back(lane("::ffff:203.0.113.255", 3));
  for (LaneReport& each : report.lanes) each.pool = "a-pool-with-a-name-of-forty-letters-and-on";
  for (auto& count : report.fallbacks) count = 12'345'678;
  for (auto& count : report.counters) count = 12'345'678'901;
  add(report, Route::pool, 123'456'789'012, 9'000'000'000);
  report.lane_places = 3;
  report.uptime_s = 100'000'000;
  std::istringstream lines(report_as_text(report));
  for (std::string line; std::getline(lines, line);) {
    std::size_t columns = 0;
    for (const char c : line) columns += (c & 0xC0) == 0x80 ? 0 : 1;
    EXPECT_LE(columns, 80U) << line;
  }
}

TEST(ReportText, ReasonsHaveTheirNames) {
  const std::string text = report_as_text(healthy());
  EXPECT_NE(text.find("            10  no_lane: the destination had no lane yet"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("3 processes attached"), std::string::npos) << text;
}

TEST(ReportText, LanesInTheOrderAskedFor) {
  Report report = healthy();
  report.lanes = {lane("::ffff:10.0.0.2", 10), lane("::ffff:10.0.0.1", 900),
                  lane("::ffff:10.0.0.3", 950)};
  const auto at = [](const std::string& text, const char* what) { return text.find(what); };
  const std::string fullest = report_as_text(report);
  EXPECT_LT(at(fullest, "10.0.0.2:443"), at(fullest, "10.0.0.1:443"));
  const std::string text = report_as_text(report, {2, {LaneColumn::destination, false}});
  const std::string lanes = text.substr(text.find("Lanes:"));
  EXPECT_LT(at(lanes, "10.0.0.1:443"), at(lanes, "10.0.0.2:443"));
  EXPECT_EQ(at(lanes, "10.0.0.3:443"), std::string::npos);
  EXPECT_NE(at(lanes, "... and 1 more"), std::string::npos);
  EXPECT_EQ(lane_column("in_use"), LaneColumn::in_use);
  EXPECT_EQ(lane_column("used%"), LaneColumn::used);
  EXPECT_FALSE(lane_column("IN USE"));
}

// The work of the passes between two readings, not since the daemon began: a sum divided by a
// second said "222 % CPU", and more each second.
TEST(ReportSince, TakesThePassesOfBeforeAway) {
  Report earlier = healthy();
  earlier.reconcile_passes = 100;
  earlier.reconcile_cpu_ns = 2'220'000'000;
  earlier.attaches_refused = 4;
  Report now = earlier;
  now.reconcile_passes = 102;
  now.reconcile_cpu_ns += 14'000'000;
  now.attaches_refused = 5;
  const Report between = now.since(earlier);
  EXPECT_EQ(between.reconcile_passes, 2U);
  EXPECT_EQ(between.reconcile_cpu_ns, 14'000'000U);
  EXPECT_EQ(between.attaches_refused, 1U);
}

}  // namespace
}  // namespace portpool::test
