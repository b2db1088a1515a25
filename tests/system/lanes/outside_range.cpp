// outside_range = "refuse": no call that the pool should serve leaves its port_range, whatever
// keeps the pool from serving it.
#include <signal.h>

#include <cerrno>
#include <fstream>
#include <thread>

#include "portpool/structure.h"
#include "support/sockets.h"
#include "system/lanes/lane_net.h"

namespace portpool::test {
namespace {

constexpr int kPortCount = 2000;  // of the kernel
constexpr int kPoolLow = kLow + 1000;
constexpr int kPoolCount = 20;

std::string pool_with(const std::string& lines) {
  return "[[pool]]\nname = \"narrow\"\ndestinations = [\"127.0.0.0/8:9001\", \"[::1]:9001\"]\n"
         "port_range = \"" +
         std::to_string(kPoolLow) + "-" + std::to_string(kPoolLow + kPoolCount - 1) + "\"\n" +
         lines;
}
const std::string kRefuse = "outside_range = \"refuse\"\n";

// DEAD DESTINATION: says the local port of the second attempt.
GUEST(refused_then_connected) {
  const int fd = tcp_socket(AF_INET);
  CHECK_THAT(connect_error(fd, SocketAddress(arguments.at(0))) == ECONNREFUSED);
  CHECK_THAT(connect_error(fd, SocketAddress(arguments.at(1))) == 0);
  say(std::to_string(local_port(fd)));
}

class OutsideRange : public EachStrategy {
 protected:
  static bool is_inside(int port) { return port >= kPoolLow && port < kPoolLow + kPoolCount; }

  // Of `count` connections, held: how many are inside the range; the error of the first that
  // failed.
  struct Held {
    int inside = 0;
    int outside = 0;
    std::string error;
  };
  static Held hold(Client& client, const std::string& destination, int count,
                   const std::string& source = "") {
    Held held;
    for (int i = 0; i < count; ++i) {
      const Connected connected = client.connect(destination, source);
      if (!connected.ok()) {
        held.error = connected.error;
        break;
      }
      ++(is_inside(connected.port()) ? held.inside : held.outside);
    }
    return held;
  }
  void expect_range_and_no_more(Client& client, const std::string& destination,
                                const std::string& source = "") {
    const Held held = hold(client, destination, kPoolCount + 1, source);
    EXPECT_EQ(held.outside, 0) << destination;
    // By bind() some ports are drawn at random: it may miss the last ones.
    EXPECT_GE(held.inside, strategy() == "bind" ? kPoolCount / 2 : kPoolCount) << destination;
    EXPECT_EQ(held.error, "EADDRNOTAVAIL") << destination;
  }
};

TEST_P(OutsideRange, KernelByDefault) {
  start(kPortCount, pool_with(""));
  Client client(poold->shim());
  EXPECT_GT(hold(client, kEcho, 3 * kPoolCount).outside, 0);
}

TEST_P(OutsideRange, FirstCallsAndFullLanes) {
  start(kPortCount, pool_with(kRefuse));
  Client client(poold->shim());
  expect_range_and_no_more(client, kEcho);
  expect_range_and_no_more(client, "127.0.0.3:9001", "127.0.0.2");
  expect_range_and_no_more(client, "[::1]:9001");
  // By bind() a first call waits for its lane.
  if (strategy() == "bind") return;
  EXPECT_GT(fallbacks(poold->status(), "no_lane"), 0U);
}

TEST_P(OutsideRange, OtherDestinationsHaveTheWholeRange) {
  start(kPortCount, pool_with("exclude = [\"127.0.0.4\"]\n" + kRefuse));
  Client client(poold->shim());
  for (const std::string& destination : {kOtherEcho, std::string("127.0.0.4:9001")}) {
    const Held held = hold(client, destination, 4 * kPoolCount);
    EXPECT_EQ(held.error, "") << destination;
    EXPECT_GT(held.outside, 0) << destination;
  }
}

// The rules that were in force last stay in force.
TEST_P(OutsideRange, WithoutADaemon) {
  start(kPortCount, pool_with(kRefuse));
  make_lane(kEcho);
  Client client(poold->shim());
  ASSERT_TRUE(client.connect(kOtherEcho).ok());
  poold->kill();
  // Long enough for its heartbeat to count as stopped.
  std::this_thread::sleep_for(std::chrono::milliseconds(2 * kHeartbeatStaleMs));
  expect_range_and_no_more(client, kEcho);
  EXPECT_GT(hold(client, kOtherEcho, 4 * kPoolCount).outside, 0);
}

TEST_P(OutsideRange, RulesOfAReload) {
  start(kPortCount, pool_with(""));
  Client client(poold->shim());
  std::ofstream(poold->config_path()) << "strategy = \"" + strategy() + "\"\n" + pool_with(kRefuse);
  poold->process().signal(SIGHUP);
  EXPECT_TRUE(eventually([&] {
    const Held held = hold(client, kEcho, 2 * kPoolCount);
    client.reset_all();
    return held.outside == 0 && held.error == "EADDRNOTAVAIL";
  }));
}

// Of two attempts on one socket neither leaves the range.
TEST_P(OutsideRange, SecondAttempts) {
  start(kPortCount, "[[pool]]\nport_range = \"" + std::to_string(kPoolLow) + "-" +
                        std::to_string(kPoolLow + kPoolCount - 1) + "\"\n" + kRefuse);
  make_lane(kNobody);
  Process guest = start_guest("refused_then_connected", poold->shim(), {kNobody, kEcho});
  EXPECT_EQ(guest.wait(), 0) << guest.err();
  const int port = std::stoi(guest.out());
  EXPECT_TRUE(is_inside(port)) << port;
}

PORTPOOL_EACH_STRATEGY(OutsideRange);

}  // namespace
}  // namespace portpool::test
