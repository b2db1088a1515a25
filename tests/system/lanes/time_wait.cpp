// One port, one destination: what tcp_tw_reuse allows natively is what happens under the shim.
#include <string>
#include <tuple>

#include "system/lanes/lane_net.h"

namespace portpool::test {
namespace {

using std::chrono::seconds;

// Longer than TIME_WAIT must have lasted before the kernel gives it away (1 s), well below its end
// (60 s).
constexpr seconds kAfterReuseAge{3};

class OnePort : public LaneNet, public testing::WithParamInterface<std::tuple<std::string, int>> {
 protected:
  std::string strategy() const override { return std::get<0>(GetParam()); }
  static int reuse() { return std::get<1>(GetParam()); }

  void start_with_one_port() {
    net.set_sysctl("net.ipv4.tcp_tw_reuse", std::to_string(reuse()));
    start(1);
  }

  // Whether a port in TIME_WAIT serves again within kAfterReuseAge. Leaves nothing open.
  bool comes_back(Client& client, const std::string& destination) {
    const Connected first = client.connect(destination);
    EXPECT_EQ(first.error, "ok");
    client.close(first.fd);
    Connected second;
    const bool again =
        eventually([&] { return (second = client.connect(destination)).ok(); }, kAfterReuseAge);
    if (again) {
      EXPECT_EQ(second.port(), kLow);
      EXPECT_EQ(client.ask("echo " + std::to_string(second.fd)), "ok");
      client.reset(second.fd);
    } else {
      EXPECT_EQ(second.error, "EADDRNOTAVAIL");
    }
    return again;
  }
};

TEST_P(OnePort, ConnectCloseConnectNatively) {
  start_with_one_port();
  Client client(native());
  EXPECT_EQ(comes_back(client, kEcho), reuse() != 0);
}

TEST_P(OnePort, ConnectCloseConnectUnderTheShim) {
  start_with_one_port();
  make_lane(kEcho);
  ASSERT_TRUE(lane_comes_true(kEcho));
  Client client(poold->shim());
  const nlohmann::json before = poold->status();
  EXPECT_EQ(comes_back(client, kEcho), reuse() != 0);
  EXPECT_GT(pool_connects(poold->status()), pool_connects(before));
  EXPECT_TRUE(lane_comes_true(kEcho)) << lane(kEcho);
  EXPECT_EQ(number(lane(kEcho), "free"), reuse() != 0 ? 1 : 0);
}

// 2 allows it on loopback only; the tests' own address lies on lo but is not 127.0.0.0/8.
TEST_P(OnePort, AddressOutsideLoopback) {
  net.add_address("10.9.8.7/32");
  start_with_one_port();
  Client natively(native());
  const bool expected = comes_back(natively, "10.9.8.7:9001");
  make_lane("10.9.8.7:9002");
  ASSERT_TRUE(lane_comes_true("10.9.8.7:9002", "10.9.8.7"));
  Client client(poold->shim());
  EXPECT_EQ(comes_back(client, "10.9.8.7:9002"), expected);
  EXPECT_TRUE(lane_comes_true("10.9.8.7:9002", "10.9.8.7")) << poold->status();
}

std::string one_port_name(const testing::TestParamInfo<std::tuple<std::string, int>>& info) {
  return std::string(std::get<0>(info.param) == "bind" ? "Bind" : "PortRange") +
         std::to_string(std::get<1>(info.param));
}

INSTANTIATE_TEST_SUITE_P(Reuse, OnePort,
                         testing::Combine(testing::Values(std::string("port-range"),
                                                          std::string("bind")),
                                          testing::Values(0, 1, 2)),
                         one_port_name);

class TimeWait : public EachStrategy {};

// Through the pool, and not only through the kernel's path: the lane offers what may be taken over.
TEST_P(TimeWait, OfTheWholeLaneIsTakenOverByThePool) {
  start(8);
  make_lane(kEcho);
  Client client(poold->shim());
  for (int i = 0; i < 8; ++i) client.close(client.connect(kEcho).fd);
  ASSERT_TRUE(eventually_lane(kEcho, [](const auto& now) { return number(now, "reusable") == 8; }))
      << lane(kEcho);
  EXPECT_EQ(kernel_ports(kHost, kEcho).waiting, 8);
  const nlohmann::json before = poold->status();
  EXPECT_EQ(client.hold(kEcho, 8), 8);
  const nlohmann::json after = poold->status();
  EXPECT_EQ(pool_connects(after) - pool_connects(before), 8U);
  EXPECT_EQ(number(after, "rejections"), number(before, "rejections"));
}

TEST_P(TimeWait, LaneTellsWaitingFromReusable) {
  start(8);
  make_lane(kEcho);
  Client client(poold->shim());
  for (int i = 0; i < 4; ++i) client.close(client.connect(kEcho).fd);
  EXPECT_TRUE(eventually_lane(kEcho, [](const auto& now) { return number(now, "reusable") == 4; }))
      << lane(kEcho);
  EXPECT_TRUE(lane_comes_true(kEcho));
  EXPECT_EQ(number(lane(kEcho), "free"), 8);
}

// Half closed, the peer silent: it looks like TIME_WAIT, but no connect may have the port.
TEST_P(TimeWait, OrphanedFinWait2IsNeverReused) {
  net.set_sysctl("net.ipv4.tcp_tw_reuse", "1");
  net.set_sysctl("net.ipv4.tcp_fin_timeout", "60");
  start(1);
  make_lane(kSilent);
  ASSERT_TRUE(lane_comes_true(kSilent));
  Client client(poold->shim());
  const Connected first = client.connect(kSilent);
  ASSERT_EQ(first.error, "ok");
  client.close(first.fd);
  ASSERT_TRUE(
      eventually_lane(kSilent, [](const auto& now) { return number(now, "quarantined") == 1; }));
  Client natively(native());
  EXPECT_FALSE(eventually(
      [&] {
        return natively.connect(kSilent).ok() || client.connect(kSilent).ok() ||
               number(lane(kSilent), "free") != 0;
      },
      kAfterReuseAge))
      << poold->status();
  EXPECT_EQ(kernel_ports(kHost, kSilent).waiting, 1);
}

PORTPOOL_EACH_STRATEGY(TimeWait);

}  // namespace
}  // namespace portpool::test
