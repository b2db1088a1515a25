// Settings that change while programs run.
#include <set>
#include <sstream>

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
  set_ports(100);
  ASSERT_TRUE(capacity_becomes(100)) << lane(kEcho);
  ASSERT_TRUE(lane_comes_true(kEcho)) << lane(kEcho);
  EXPECT_EQ(number(poold->status().at("port_range"), "high"), kLow + 99);
  Client client(poold->shim());
  const nlohmann::json before = poold->status();
  EXPECT_EQ(client.hold(kEcho, 100), 100);
  EXPECT_EQ(pool_connects(poold->status()) - pool_connects(before), 100U);
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
