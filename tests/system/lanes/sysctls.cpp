// Settings that change while programs run.
#include <sched.h>
#include <sys/mount.h>

#include <set>
#include <sstream>
#include <thread>

#include "support/no_descriptors.h"
#include "system/lanes/lane_net.h"

namespace portpool::test {
namespace {

class Sysctls : public EachStrategy {
 protected:
  bool capacity_becomes(int count) {
    return eventually_lane(kEcho,
                           [&](const auto& now) { return number(now, "capacity") == count; });
  }

  // The ports of `count` connects, one after the other. None may fail.
  std::set<int> ports_of(Client& client, int count) {
    std::istringstream answer(client.ask("ports " + kEcho + " " + std::to_string(count)));
    std::set<int> ports;
    for (std::string local; answer >> local;) {
      const std::size_t colon = local.rfind(':');
      EXPECT_NE(colon, std::string::npos) << local;
      if (colon != std::string::npos) ports.insert(std::stoi(local.substr(colon + 1)));
    }
    return ports;
  }

  void expect_inside(const std::set<int>& ports, int low, int count) {
    ASSERT_FALSE(ports.empty());
    EXPECT_GE(*ports.begin(), low);
    EXPECT_LT(*ports.rbegin(), low + count);
  }
};

TEST_P(Sysctls, WidenedRangeIsUsed) {
  start(8);
  make_lane(kEcho);
  set_ports(60);
  ASSERT_TRUE(capacity_becomes(60)) << lane(kEcho);
  ASSERT_TRUE(lane_comes_true(kEcho)) << lane(kEcho);
  EXPECT_EQ(number(poold->status().at("port_range"), "high"), kLow + 59);
  Client client(poold->shim());
  const nlohmann::json before = poold->status();
  EXPECT_EQ(client.hold(kEcho, 60), 60);
  EXPECT_EQ(pool_connects(poold->status()) - pool_connects(before), 60U);
}

TEST_P(Sysctls, NarrowedRangeIsKeptTo) {
  start(100);
  make_lane(kEcho);
  set_ports(8);
  ASSERT_TRUE(capacity_becomes(8)) << lane(kEcho);
  ASSERT_TRUE(lane_comes_true(kEcho)) << lane(kEcho);
  Client client(poold->shim());
  const nlohmann::json before = poold->status();
  expect_inside(ports_of(client, 100), kLow, 8);
  EXPECT_EQ(pool_connects(poold->status()) - pool_connects(before), 100U);
  EXPECT_EQ(client.hold(kEcho, 20), 8);
}

// Ports claimed before and given back after the change stay outside.
TEST_P(Sysctls, PortsGivenBackAfterNarrowingAreNotClaimedAgain) {
  start(100);
  make_lane(kEcho);
  Client client(poold->shim());
  ASSERT_EQ(client.hold(kEcho, 90), 90);
  set_ports(8);
  ASSERT_TRUE(capacity_becomes(8)) << lane(kEcho);
  client.ask("reset_all");
  EXPECT_TRUE(lane_comes_true(kEcho)) << lane(kEcho);
  const nlohmann::json before = poold->status();
  expect_inside(ports_of(client, 200), kLow, 8);
  EXPECT_EQ(pool_connects(poold->status()) - pool_connects(before), 200U);
  EXPECT_TRUE(lane_comes_true(kEcho)) << lane(kEcho);
  EXPECT_EQ(client.hold(kEcho, 20), 8);
  EXPECT_TRUE(lane_comes_true(kEcho)) << lane(kEcho);
}

TEST_P(Sysctls, RangeThatMovesAwayAndBack) {
  start(64);
  make_lane(kEcho);
  Client client(poold->shim());
  for (const int low : {30000, 40000, kLow}) {
    SCOPED_TRACE(low);
    net.set_port_range(low, low + 63);
    // In between, connects go on: from either range, but none fails.
    ports_of(client, 200);
    ASSERT_TRUE(eventually([&] { return number(poold->status().at("port_range"), "low") == low; }));
    ASSERT_TRUE(lane_comes_true(kEcho)) << lane(kEcho);
    expect_inside(ports_of(client, 200), low, 64);
  }
}

TEST_P(Sysctls, ReservedPortsAreLeftAlone) {
  start(8);
  make_lane(kEcho);
  net.set_sysctl("net.ipv4.ip_local_reserved_ports",
                 std::to_string(kLow) + "-" + std::to_string(kLow + 3));
  // Reserving ports is how the bind strategy gets them for itself.
  const int blocked = strategy() == "bind" ? 0 : 4;
  ASSERT_TRUE(eventually_lane(kEcho, [&](const auto& now) {
    return number(now, "blocked") == blocked;
  })) << lane(kEcho);
  Client client(poold->shim());
  EXPECT_EQ(client.hold(kEcho, 8), 8 - blocked);
}

// Natively the kernel gives such ports, where the administrator lets it.
TEST_P(Sysctls, PortsBelow1024AreNeverGivenOut) {
  start(64);
  make_lane(kEcho);
  net.set_sysctl("net.ipv4.ip_unprivileged_port_start", "0");
  net.set_port_range(1000, 1101);
  ASSERT_TRUE(capacity_becomes(1101 - 1024 + 1)) << lane(kEcho);
  ASSERT_TRUE(lane_comes_true(kEcho)) << lane(kEcho);
  Client client(poold->shim());
  expect_inside(ports_of(client, 200), 1024, 78);
}

int times_said(const std::string& log, const std::string& text) {
  int count = 0;
  for (std::size_t at = 0; (at = log.find(text, at)) != std::string::npos; ++at) ++count;
  return count;
}

// No call rings the bell for what cannot be served.
TEST_F(LaneNet, PoolOutsideTheRangeIsRefused) {
  start(64, "[[pool]]\nname = \"far\"\nport_range = \"30000-30063\"\n");
  Client client(poold->shim());
  ASSERT_TRUE(eventually([&] {
    client.ask("ports " + kEcho + " 1");
    return fallbacks(poold->status(), "lane_refused") > 0;
  })) << poold->status();
  const nlohmann::json before = poold->status();
  for (int i = 0; i < 20; ++i) {
    client.ask("ports " + kEcho + " 5");
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  const nlohmann::json after = poold->status();
  EXPECT_EQ(fallbacks(after, "lane_refused") - fallbacks(before, "lane_refused"), 100U);
  EXPECT_EQ(fallbacks(after, "no_lane"), fallbacks(before, "no_lane"));
  const std::string log = poold->process().err();
  EXPECT_EQ(times_said(log, "pool far: none of its ports 30000-30063"), 1) << log;
}

TEST_F(LaneNet, LanesWithoutPortsAreOutOfServiceUntilTheRangeComesBack) {
  start(64, "[[pool]]\nname = \"near\"\nport_range = \"" + std::to_string(kLow) + "-" +
                std::to_string(kLow + 63) + "\"\n");
  make_lane(kEcho);
  Client client(poold->shim());
  ASSERT_EQ(client.hold(kEcho, 5), 5);
  for (int turn = 1; turn <= 2; ++turn) {
    net.set_port_range(30000, 30063);
    ASSERT_TRUE(eventually([&] { return lane(kEcho).is_null(); })) << lane(kEcho);
    const nlohmann::json before = poold->status();
    for (int i = 0; i < 10; ++i) {
      const Connected connected = client.connect(kEcho);
      EXPECT_EQ(connected.error, "ok");
      EXPECT_GE(connected.port(), 30000);
      client.reset(connected.fd);
    }
    const nlohmann::json after = poold->status();
    EXPECT_EQ(fallbacks(after, "lane_refused") - fallbacks(before, "lane_refused"), 10U);
    EXPECT_EQ(fallbacks(after, "no_lane"), fallbacks(before, "no_lane"));
    set_ports(64);
    const std::uint64_t by_pool = pool_connects(poold->status());
    ASSERT_TRUE(eventually([&] {
      client.ask("ports " + kEcho + " 1");
      return pool_connects(poold->status()) > by_pool;
    })) << poold->status();
    ASSERT_TRUE(lane_comes_true(kEcho)) << lane(kEcho);
    EXPECT_EQ(number(lane(kEcho), "in_use"), 5);
    const std::string log = poold->process().err();
    EXPECT_EQ(times_said(log, "pool near: none of its ports"), turn) << log;
    EXPECT_EQ(times_said(log, "pool near: has ports again"), turn) << log;
  }
}

// Out of descriptors, poold can read no setting and ask for no route.
TEST_P(Sysctls, WhatCannotBeReadStaysAsItWas) {
  start(64);
  make_lane(kEcho);
  Client client(poold->shim());
  const nlohmann::json before = poold->status();
  {
    const NoDescriptors none(poold->process().pid());
    for (int i = 0; i < 20; ++i) {
      expect_inside(ports_of(client, 10), kLow, 64);
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  }
  const nlohmann::json after = poold->status();
  EXPECT_EQ(after.at("port_range"), before.at("port_range"));
  EXPECT_EQ(pool_connects(after) - pool_connects(before), 200U) << after.at("fallbacks");
  const std::string log = poold->process().err();
  const std::size_t said = log.find("Too many open files; what was known before stays in force");
  EXPECT_NE(said, std::string::npos) << log;
  EXPECT_EQ(log.find("stays in force", said + 60), std::string::npos) << "once: " << log;
}

TEST_F(LaneNet, StartSaysWhatCannotBeRead) {
  const TempDir directory;
  const std::string nonsense = directory.write("range", "many ports");
  const std::string path = "/proc/sys/net/ipv4/ip_local_port_range";
  ASSERT_EQ(unshare(CLONE_NEWNS), 0);
  ASSERT_EQ(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
  ASSERT_EQ(mount(nonsense.c_str(), path.c_str(), nullptr, MS_BIND, nullptr), 0);
  Process daemon({poold_path(), "serve", "--socket", directory.file("poold.sock")});
  EXPECT_EQ(daemon.wait(), 2) << daemon.err();
  EXPECT_NE(daemon.err().find("cannot read " + path + ": not understood: \"many ports\""),
            std::string::npos)
      << daemon.err();
}

TEST_F(LaneNet, TimeWaitReuseSwitchedOnAndOff) {
  net.set_sysctl("net.ipv4.tcp_tw_reuse", "0");
  start(4);
  make_lane(kEcho);
  Client client(poold->shim());
  for (int i = 0; i < 4; ++i) client.close(client.connect(kEcho).fd);
  ASSERT_TRUE(lane_comes_true(kEcho)) << lane(kEcho);
  EXPECT_EQ(number(lane(kEcho), "free"), 0);
  EXPECT_EQ(client.connect(kEcho).error, "EADDRNOTAVAIL");
  net.set_sysctl("net.ipv4.tcp_tw_reuse", "1");
  ASSERT_TRUE(eventually_lane(kEcho, [](const auto& now) { return number(now, "free") == 4; }))
      << lane(kEcho);
  EXPECT_EQ(client.hold(kEcho, 1), 1);
  net.set_sysctl("net.ipv4.tcp_tw_reuse", "0");
  ASSERT_TRUE(eventually_lane(kEcho, [](const auto& now) { return number(now, "free") == 0; }))
      << lane(kEcho);
  EXPECT_EQ(client.connect(kEcho).error, "EADDRNOTAVAIL");
  EXPECT_TRUE(lane_comes_true(kEcho)) << lane(kEcho);
}

PORTPOOL_EACH_STRATEGY(Sysctls);

}  // namespace
}  // namespace portpool::test
