// Floods, one kind at a time: whatever others do to poold, programs see its heartbeat move, and who
// comes anew gets the segment while he waits for it.
//
// Each kind says how old the heartbeat got at most, and how long newcomers waited. The goals are
// kept for show (a busy machine may miss them); a test fails where programs would have fallen to
// the kernel's path: on a heartbeat older than kHeartbeatStaleMs, or when more than a quarter of
// the newcomers waited for longer than kAttachTimeoutMs.
//
// PORTPOOL_FLOOD_SECONDS: how long each kind goes on (20).
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <memory>

#include "fault/hostile/attached_segment.h"
#include "portpool/handover.h"
#include "stress/floods/witness.h"
#include "support/poold_fixture.h"
#include "support/private_net.h"

namespace portpool::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kHeartbeatGoal{300};
constexpr milliseconds kNewcomerGoal{50};
// How long is waited for lanes to come to be before the flood; fewer will do.
constexpr milliseconds kPreparation{15'000};

milliseconds length_of_flood() {
  const char* value = std::getenv("PORTPOOL_FLOOD_SECONDS");
  return std::chrono::seconds(value != nullptr ? std::atoi(value) : 20);
}

double in_ms(Witness::Duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

const char* judged(bool met) { return met ? "met" : "missed"; }

class Floods : public testing::Test {
 protected:
  void start(const std::string& config) {
    poold = std::make_unique<Poold>(config);
    client =
        std::make_unique<Process>(guest_command("flood_steadily"), environment_of(poold->shim()));
    client->wait_for_output("floods\n");
  }

  void add(const std::string& guest, const Arguments& arguments, bool under_shim = false) {
    floods.push_back(std::make_unique<Process>(
        guest_command(guest, arguments),
        under_shim ? environment_of(poold->shim()) : std::vector<std::string>{}));
    floods.back()->wait_for_output("floods\n");
  }

  static std::vector<std::string> environment_of(const Under& under) {
    std::vector<std::string> environment = preload_environment();
    environment.insert(environment.end(), under.environment.begin(), under.environment.end());
    return environment;
  }

  // Lanes toward `wanted` destinations, or as many as come to be in kPreparation.
  void make_lanes(std::uint32_t wanted) {
    const AttachedSegment segment(poold->socket());
    Process maker(guest_command("flood_destinations", {"0", std::to_string(wanted - 1)}),
                  environment_of(poold->shim()));
    eventually([&] { return segment.lanes() >= wanted; }, kPreparation);
    maker.send_line("stop");
    maker.wait();
    ASSERT_GT(segment.lanes(), 0U);
    std::printf("  %u lanes\n", segment.lanes());
  }

  // Watches while the floods go on, and judges.
  void watch() {
    Witness witness(poold->socket());
    std::this_thread::sleep_for(length_of_flood());
    const Witness::Testimony seen = witness.end();
    std::uint64_t count = 0;
    for (auto& flood : floods) {
      ASSERT_TRUE(flood->running()) << flood->err();
      flood->send_line("stop");
    }
    for (auto& flood : floods) {
      ASSERT_EQ(flood->wait(), 0) << flood->err();
      const std::string said = flood->out();
      count += std::stoull(said.substr(said.find("count ") + 6));
    }
    EXPECT_TRUE(client->running()) << client->err();
    report(seen, count);
    EXPECT_GT(count, 0U) << "there was no flood";
    EXPECT_LE(seen.oldest_heartbeat, milliseconds(kHeartbeatStaleMs))
        << "programs took the kernel's path";
    EXPECT_LE(seen.late_newcomers() * 4, seen.newcomers.size())
        << "newcomers did not get the segment within " << kAttachTimeoutMs << " ms";
  }

  void report(const Witness::Testimony& seen, std::uint64_t count) const {
    const auto status = poold->status();
    std::printf(
        "  %llu times; heartbeat: oldest %.0f ms (%s); newcomer: median %.1f ms, worst %.1f ms, "
        "%zu of %zu late (%s); stale_heartbeat %llu, attach_timeout %llu\n",
        static_cast<unsigned long long>(count), in_ms(seen.oldest_heartbeat),
        judged(seen.oldest_heartbeat <= kHeartbeatGoal), in_ms(seen.median_newcomer()),
        in_ms(seen.latest_newcomer()), seen.late_newcomers(), seen.newcomers.size(),
        judged(seen.latest_newcomer() <= kNewcomerGoal),
        static_cast<unsigned long long>(fallbacks(status, "stale_heartbeat")),
        static_cast<unsigned long long>(fallbacks(status, "attach_timeout")));
    std::fflush(stdout);
  }

  PrivateNet net;
  std::unique_ptr<Poold> poold;
  std::unique_ptr<Process> client;  // who is flooded: poold counts what becomes of its calls
  std::vector<std::unique_ptr<Process>> floods;
};

TEST_F(Floods, Attention) {
  start("max_lanes = 1024");
  make_lanes(847);
  add("flood_attention", {poold->socket()});
  watch();
}

TEST_F(Floods, Visitor) {
  start("");
  add("flood_visitors", {poold->socket()});
  watch();
}

TEST_F(Floods, FourVisitors) {
  start("");
  for (int i = 0; i < 4; ++i) add("flood_visitors", {poold->socket()});
  watch();
}

TEST_F(Floods, Destinations) {
  start("max_lanes = 16384");
  for (int i = 0; i < 4; ++i) {
    add("flood_destinations", {std::to_string(i * 3500), std::to_string(i * 3500 + 3499)}, true);
  }
  watch();
}

// Each is asked for once: the table is full of lanes that nobody uses any more.
TEST_F(Floods, Retiring) {
  start("max_lanes = 4096");
  make_lanes(4096);
  for (int i = 0; i < 2; ++i) {
    add("flood_destinations", {std::to_string((i + 1) << 22), std::to_string((i + 2) << 22)}, true);
  }
  watch();
}

TEST_F(Floods, Hangups) {
  std::string config = "max_lanes = 1024\n";
  for (int i = 0; i < 40; ++i) {
    const std::string number = std::to_string(i);
    config += "[[pool]]\nname = \"p" + number + "\"\ndestinations = [\"10.0." + number +
              ".0/24:443\", \"127." + number + ".0.0/16\"]\n";
  }
  start(config);
  make_lanes(400);
  add("flood_hangups", {std::to_string(poold->process().pid())});
  watch();
}

TEST_F(Floods, Scrapes) {
  start("max_lanes = 1024\nmetrics_listen = \"127.0.0.1:9481\"");
  make_lanes(500);
  for (int i = 0; i < 4; ++i) add("flood_scrapes", {"127.0.0.1:9481"});
  watch();
}

TEST_F(Floods, Programs) {
  start("");
  for (int i = 0; i < 2; ++i) add("flood_programs", {"4000", poold->socket()});
  watch();
}

TEST_F(Floods, BusyMachine) {
  start("max_lanes = 1024");
  make_lanes(100);
  add("flood_destinations", {"0", "99"}, true);
  for (int i = 0; i < 20; ++i) add("flood_work", {});
  watch();
}

}  // namespace
}  // namespace portpool::test
