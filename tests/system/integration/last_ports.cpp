// To the very last port: as many connects succeed under the shim as the kernel has ports for.
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "support/holder.h"
#include "system/integration/common.h"

namespace portpool::test {
namespace {

// Connects and holds until a connect fails; says how many there were and why it stopped.
GUEST(connect_until_failure) {
  const SocketAddress destination(arguments.at(0));
  std::vector<int> sockets;
  int error = 0;
  while (sockets.size() < 100) {
    const int fd = connected_socket(destination);
    if (fd < 0) {
      error = errno;
      break;
    }
    CHECK_THAT(echo_round_trip(fd));
    sockets.push_back(fd);
  }
  say(std::to_string(sockets.size()) + " " + error_name(error));
  for (const int fd : sockets) close_with_reset(fd);
}

GuestResult outcome(int connects) { return {0, std::to_string(connects) + " EADDRNOTAVAIL\n", ""}; }

class LastPorts : public testing::Test {
 protected:
  // A range of `count` ports, and a lane for kEcho.
  void start(int count) {
    net.set_port_range(kLowPort, kLowPort + count - 1);
    server = std::make_unique<EchoServer>(std::vector<std::uint16_t>{9001, 9002});
    poold = std::make_unique<Poold>();
    poold->make_lanes({kEcho});
  }

  PrivateNet net;
  std::unique_ptr<EchoServer> server;
  std::unique_ptr<Poold> poold;
};

TEST_F(LastPorts, ThreeOfFourThousand) {
  start(4000);
  const Holder holder(SocketAddress(kEcho), 3997);
  ASSERT_EQ(holder.held(), 3997U) << error_name(holder.error());
  EXPECT_EQ(run_guest("connect_until_failure", native(), {kEcho}), outcome(3));
  // At once, when the lane may not know of the others yet, and when it does.
  EXPECT_EQ(run_guest("connect_until_failure", poold->shim(), {kEcho}), outcome(3));
  EXPECT_TRUE(poold->eventually_status([](const nlohmann::json& now) {
    return lane_of(now, kEcho).at("free") == 3;
  })) << lane_of(poold->status(), kEcho);
  const nlohmann::json before = poold->status();
  EXPECT_EQ(run_guest("connect_until_failure", poold->shim(), {kEcho}), outcome(3));
  const nlohmann::json after = poold->status();
  EXPECT_EQ(pool_connects(after) - pool_connects(before), 3U);
  EXPECT_EQ(after.at("results").at("EADDRNOTAVAIL").get<int>() -
                before.at("results").at("EADDRNOTAVAIL").get<int>(),
            1);
}

TEST_F(LastPorts, HeldUnderTheShimTheLastOneIsFoundToo) {
  start(500);
  EXPECT_EQ(run_guest("connect_until_failure", poold->shim(), {kEcho}),
            (GuestResult{0, "100 ok\n", ""}));
  const Holder holder(SocketAddress(kEcho), 450);
  ASSERT_EQ(holder.held(), 450U);
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(run_guest("connect_until_failure", poold->shim(), {kEcho}), outcome(50));
  }
}

TEST_F(LastPorts, RangeOfOne) {
  start(1);
  EXPECT_EQ(run_guest("connect_until_failure", native(), {kEcho}), outcome(1));
  EXPECT_EQ(run_guest("connect_until_failure", poold->shim(), {kEcho}), outcome(1));
  // The same port serves another destination.
  const Holder holder(SocketAddress(kEcho), 1);
  ASSERT_EQ(holder.held(), 1U);
  EXPECT_EQ(run_guest("connect_until_failure", poold->shim(), {kEcho}), outcome(0));
  poold->make_lanes({kOtherEcho});
  EXPECT_EQ(run_guest("connect_until_failure", poold->shim(), {kOtherEcho}), outcome(1));
}

TEST_F(LastPorts, RangeOfEight) {
  start(8);
  EXPECT_EQ(run_guest("connect_until_failure", native(), {kEcho}), outcome(8));
  EXPECT_EQ(run_guest("connect_until_failure", poold->shim(), {kEcho}), outcome(8));
  const Holder holder(SocketAddress(kEcho), 5);
  ASSERT_EQ(holder.held(), 5U);
  EXPECT_EQ(run_guest("connect_until_failure", poold->shim(), {kEcho}), outcome(3));
}

// Ports that somebody listens on, has bound, or that the administrator has reserved.
TEST_F(LastPorts, PortsThatNobodyMayHave) {
  net.set_sysctl("net.ipv4.ip_local_reserved_ports", "20000-20002");
  start(8);
  const EchoServer inside({20004});
  const int bound = tcp_socket(AF_INET);
  ASSERT_EQ(bind_error(bound, SocketAddress("127.0.0.1:20006")), 0);
  const GuestResult natively = run_guest("connect_until_failure", native(), {kEcho});
  EXPECT_EQ(run_guest("connect_until_failure", poold->shim(), {kEcho}), natively);
  EXPECT_TRUE(poold->eventually_status([](const nlohmann::json& now) {
    return lane_of(now, kEcho).at("free") == 3;
  })) << lane_of(poold->status(), kEcho);
  EXPECT_EQ(run_guest("connect_until_failure", poold->shim(), {kEcho}), natively);
  EXPECT_EQ(natively, outcome(3));
  close(bound);
}

// The range may be changed while everything runs.
TEST_F(LastPorts, RangeThatMoves) {
  start(8);
  net.set_port_range(30000, 30003);
  EXPECT_EQ(run_guest("connect_until_failure", poold->shim(), {kEcho}), outcome(4));
  EXPECT_TRUE(poold->eventually_status([](const nlohmann::json& now) {
    return lane_of(now, kEcho).at("capacity") == 4 && lane_of(now, kEcho).at("free") == 4;
  })) << poold->status();
  const nlohmann::json before = poold->status();
  EXPECT_EQ(run_guest("connect_until_failure", poold->shim(), {kEcho}), outcome(4));
  EXPECT_EQ(pool_connects(poold->status()) - pool_connects(before), 4U)
      << before << poold->status();
}

}  // namespace
}  // namespace portpool::test
