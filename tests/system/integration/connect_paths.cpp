// Which connects the pool takes, and that it takes every one of them.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <thread>
#include <vector>

#include "base/descriptor.h"
#include "portpool/linux.h"
#include "system/integration/common.h"

namespace portpool::test {
namespace {

void set_nonblocking_by(const std::string& way, int fd) {
  if (way == "fcntl") {
    CHECK_THAT(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) == 0);
  } else if (way == "ioctl") {
    int on = 1;
    CHECK_THAT(ioctl(fd, FIONBIO, &on) == 0);
  }
}

// DESTINATION COUNT WAY: 'blocking', 'mptcp', or the way to make it non-blocking.
GUEST(connect_in_a_way) {
  const SocketAddress destination(arguments.at(0));
  const std::string& way = arguments.at(2);
  const bool blocking = way == "blocking" || way == "mptcp";
  for (int i = 0; i < std::stoi(arguments.at(1)); ++i) {
    const int fd = tcp_socket(destination.family(), way == "flag" ? SOCK_NONBLOCK : 0,
                              way == "mptcp" ? IPPROTO_MPTCP : 0);
    CHECK_THAT(fd >= 0);
    set_nonblocking_by(way, fd);
    const int error = connect_error(fd, destination);
    errno = error;
    CHECK_THAT(error == (blocking ? 0 : EINPROGRESS));
    CHECK_THAT(finish_connect(fd) == 0);
    CHECK_THAT(local_port(fd) >= kLowPort && local_port(fd) <= kHighPort);
    CHECK_THAT(peer_address(fd).text() == destination.text());
    CHECK_THAT(echo_round_trip(fd));
    CHECK_THAT(close(fd) == 0);
  }
}

std::uint64_t recorded(const nlohmann::json& status, const std::string& path, bool blocking) {
  std::uint64_t count = 0;
  for (const nlohmann::json& row : status.at("latency")) {
    if (row.at("path") == path && row.at("blocking") == blocking) {
      count += row.at("count").get<std::uint64_t>();
    }
  }
  return count;
}

TEST_F(PooledNet, EveryKindOfConnectGoesThroughThePool) {
  constexpr std::uint64_t kCount = 40;
  const bool has_mptcp = Descriptor(tcp_socket(AF_INET, 0, IPPROTO_MPTCP)).get() >= 0;
  poold.make_lanes({kEcho, "[::1]:9001"});
  for (const char* destination : {"127.0.0.1:9001", "[::1]:9001", "[::ffff:127.0.0.1]:9001"}) {
    for (const std::string way : {"blocking", "mptcp", "flag", "fcntl", "ioctl"}) {
      if (way == "mptcp" && !has_mptcp) continue;
      SCOPED_TRACE(way + " to " + destination);
      const Arguments arguments{destination, std::to_string(kCount), way};
      EXPECT_EQ(run_guest("connect_in_a_way", native(), arguments), GuestResult{});
      const nlohmann::json before = poold.status();
      EXPECT_EQ(run_guest("connect_in_a_way", poold.shim(), arguments), GuestResult{});
      const nlohmann::json after = poold.status();
      EXPECT_EQ(pool_connects(after) - pool_connects(before), kCount);
      EXPECT_EQ(kernel_connects(after) - kernel_connects(before), 0U);
      const bool blocking = way == "blocking" || way == "mptcp";
      EXPECT_EQ(recorded(after, "pool", blocking) - recorded(before, "pool", blocking), kCount);
    }
  }
}

// Of two processes: what matters is the destination.
TEST_F(EchoNet, TheSecondConnectAsksForALaneAndBothTakeTheKernelsPath) {
  const Poold poold;
  ASSERT_TRUE(eventually([&] {
    // Further apart than two seconds, where the machine is so busy, they count as first ones again.
    EXPECT_EQ(run_guest("echo_often", poold.shim(), {kEcho, "1"}), GuestResult{});
    return poold.status().at("counters").at("lane_requests") == 1;
  }));
  EXPECT_TRUE(poold.eventually_status(
      [](const nlohmann::json& now) { return !lane_of(now, kEcho).is_null(); }));
  const nlohmann::json status = poold.status();
  EXPECT_EQ(pool_connects(status), 0U);
  EXPECT_GE(kernel_connects(status), 2U);
  EXPECT_EQ(fallbacks(status, "no_lane"), kernel_connects(status));
  EXPECT_EQ(status.at("results").at("ok"), kernel_connects(status));

  const nlohmann::json lane = lane_of(status, kEcho);
  EXPECT_EQ(lane.at("source"), "127.0.0.1");
  EXPECT_EQ(lane.at("capacity"), kHighPort - kLowPort + 1);
  EXPECT_EQ(status.at("port_range"), (nlohmann::json{{"low", kLowPort}, {"high", kHighPort}}));
}

// Not TCP: none of the pool's business, and not counted.
GUEST(other_protocols) {
  const SocketAddress destination(arguments.at(0));
  const int udp = socket(AF_INET, SOCK_DGRAM, 0);
  CHECK_THAT(connect_error(udp, destination) == 0);
  CHECK_THAT(local_port(udp) != 0);
  const int bound_udp = socket(AF_INET, SOCK_DGRAM, 0);
  CHECK_THAT(bind_error(bound_udp, SocketAddress("127.0.0.1:0")) == 0);
  CHECK_THAT(local_port(bound_udp) != 0);

  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  constexpr socklen_t kAutobind = sizeof(sa_family_t);  // unix(7): an abstract name is chosen
  const int listener = socket(AF_UNIX, SOCK_STREAM, 0);
  CHECK_THAT(bind(listener, reinterpret_cast<sockaddr*>(&name), kAutobind) == 0);
  socklen_t length = sizeof name;
  CHECK_THAT(getsockname(listener, reinterpret_cast<sockaddr*>(&name), &length) == 0);
  CHECK_THAT(listen(listener, 1) == 0);
  const int client = socket(AF_UNIX, SOCK_STREAM, 0);
  CHECK_THAT(connect(client, reinterpret_cast<sockaddr*>(&name), length) == 0);
}

TEST_F(PooledNet, OtherProtocolsAreLeftAlone) {
  const nlohmann::json before = poold.status();
  expect_same_as_native("other_protocols", poold.shim(), {kEcho});
  const nlohmann::json after = poold.status();
  EXPECT_EQ(after.at("connects"), before.at("connects"));
  EXPECT_EQ(after.at("fallbacks"), before.at("fallbacks"));
}

// A port that the program chose itself stays the program's.
GUEST(own_port) {
  const int fd = tcp_socket(AF_INET);
  CHECK_THAT(bind_error(fd, SocketAddress("127.0.0.1:" + arguments.at(1))) == 0);
  CHECK_THAT(connect_error(fd, SocketAddress(arguments.at(0))) == 0);
  CHECK_THAT(local_address(fd).text() == "127.0.0.1:" + arguments.at(1));
  CHECK_THAT(echo_round_trip(fd));
  close_with_reset(fd);
}

GUEST(own_range) {
  const int fd = tcp_socket(AF_INET);
  const std::uint32_t range = 20'500U << 16 | 20'500U;
  CHECK_THAT(setsockopt(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, &range, sizeof range) == 0);
  CHECK_THAT(connect_error(fd, SocketAddress(arguments.at(0))) == 0);
  CHECK_THAT(local_port(fd) == 20'500);
  std::uint32_t now = 0;
  socklen_t length = sizeof now;
  CHECK_THAT(getsockopt(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, &now, &length) == 0);
  CHECK_THAT(now == range);
  close_with_reset(fd);
}

TEST_F(PooledNet, PortsOfTheProgramsOwnChoiceStand) {
  const nlohmann::json before = poold.status();
  expect_same_as_native("own_port", poold.shim(), {kEcho, "20123"});
  expect_same_as_native("own_port", poold.shim(), {kEcho, "1234"});
  EXPECT_EQ(pool_connects(poold.status()), pool_connects(before));
}

TEST_F(PooledNet, RangesOfTheProgramsOwnChoiceStand) {
  const Descriptor any(tcp_socket(AF_INET));
  socklen_t length = sizeof(std::uint32_t);
  std::uint32_t range = 0;
  if (getsockopt(any.get(), IPPROTO_IP, IP_LOCAL_PORT_RANGE, &range, &length) != 0) {
    GTEST_SKIP() << "this kernel has no IP_LOCAL_PORT_RANGE";
  }
  const nlohmann::json before = poold.status();
  expect_same_as_native("own_range", poold.shim(), {kEcho});
  const nlohmann::json after = poold.status();
  EXPECT_EQ(pool_connects(after), pool_connects(before));
  EXPECT_EQ(fallbacks(after, "own_port_range") - fallbacks(before, "own_port_range"), 1U);
}

GUEST(echo_in_threads) {
  const SocketAddress destination(arguments.at(0));
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) {
        const int fd = connected_socket(destination);
        CHECK_THAT(fd >= 0);
        CHECK_THAT(echo_round_trip(fd));
        CHECK_THAT(close(fd) == 0);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(PooledNet, ThreadsShareALane) {
  const nlohmann::json before = poold.status();
  EXPECT_EQ(run_guest("echo_in_threads", poold.shim(), {kEcho}), GuestResult{});
  const nlohmann::json after = poold.status();
  EXPECT_EQ(pool_connects(after) - pool_connects(before), 800U);
  EXPECT_EQ(kernel_connects(after), kernel_connects(before));
}

TEST_F(PooledNet, ModeOfTheProcess) {
  const nlohmann::json before = poold.status();
  EXPECT_EQ(run_guest("echo_often", shim_at(poold.socket(), {"PORTPOOL_MODE=off"}), {kEcho, "5"}),
            GuestResult{});
  EXPECT_EQ(poold.status().at("connects"), before.at("connects"));

  EXPECT_EQ(run_guest("echo_often", poold.shim({"PORTPOOL_MODE=observe"}), {kEcho, "5"}),
            GuestResult{});
  const nlohmann::json after = poold.status();
  EXPECT_EQ(pool_connects(after), pool_connects(before));
  EXPECT_EQ(kernel_connects(after) - kernel_connects(before), 5U);
}

// What is only watched gets a lane too, for the sake of those who look at it.
TEST_F(PooledNet, WatchedDestinationsAreSeen) {
  EXPECT_EQ(run_guest("echo_often", poold.shim({"PORTPOOL_MODE=observe"}), {kOtherEcho, "2"}),
            GuestResult{});
  EXPECT_TRUE(poold.eventually_status([](const nlohmann::json& now) {
    return !lane_of(now, kOtherEcho).is_null();
  })) << poold.status();
  EXPECT_EQ(pool_connects(poold.status()), 0U);
}

TEST_F(PooledNet, SilentUnlessVerbose) {
  EXPECT_EQ(run_guest("echo_often", poold.shim(), {kEcho, "1"}), GuestResult{});
  const GuestResult verbose =
      run_guest("echo_often", shim_at(poold.socket(), {"PORTPOOL_VERBOSE=1"}), {kEcho, "1"});
  EXPECT_EQ(verbose.status, 0);
  EXPECT_EQ(verbose.out, "");
  EXPECT_TRUE(verbose.err.starts_with("portpool: ")) << verbose.err;
  EXPECT_EQ(verbose.err.find('\n'), verbose.err.size() - 1) << verbose.err;
}

}  // namespace
}  // namespace portpool::test
