// One socket, more than one connection.
#include <unistd.h>

#include <cerrno>

#include "system/integration/common.h"

namespace portpool::test {
namespace {

const SocketAddress& nowhere() {
  static const SocketAddress address("127.0.0.1:9999");
  return address;
}

int disconnect_error(int fd) {
  sockaddr unspecified{};
  unspecified.sa_family = AF_UNSPEC;
  return connect(fd, &unspecified, sizeof unspecified) == 0 ? 0 : errno;
}

GUEST(after_refusal) {
  const SocketAddress destination(arguments.at(0));
  for (int i = 0; i < 20; ++i) {
    const int fd = tcp_socket(AF_INET);
    CHECK_THAT(connect_error(fd, nowhere()) == ECONNREFUSED);
    CHECK_THAT(connect_error(fd, nowhere()) == ECONNREFUSED);
    CHECK_THAT(connect_error(fd, destination) == 0);
    CHECK_THAT(echo_round_trip(fd));
    CHECK_THAT(close(fd) == 0);
  }
}

// Non-blocking: the refusal is learnt from SO_ERROR, or from the next connect(). After SO_ERROR the
// next connect() gives ECONNABORTED once (__inet_stream_connect).
GUEST(after_refusal_nonblocking) {
  const SocketAddress destination(arguments.at(0));
  for (int i = 0; i < 20; ++i) {
    const int fd = tcp_socket(AF_INET, SOCK_NONBLOCK);
    CHECK_THAT(connect_error(fd, nowhere()) == EINPROGRESS);
    if (i % 2 == 0) {
      CHECK_THAT(finish_connect(fd) == ECONNREFUSED);
      say("once more: " + error_name(connect_error(fd, destination)));
    } else {
      CHECK_THAT(connect_error(fd, nowhere()) == ECONNREFUSED);
    }
    CHECK_THAT(connect_error(fd, destination) == EINPROGRESS);
    CHECK_THAT(finish_connect(fd) == 0);
    CHECK_THAT(echo_round_trip(fd));
    CHECK_THAT(close(fd) == 0);
  }
}

GUEST(disconnect_and_connect) {
  const SocketAddress first(arguments.at(0));
  const SocketAddress second(arguments.at(1));
  int same = 0;
  for (int i = 0; i < 20; ++i) {
    const int fd = tcp_socket(AF_INET);
    say("disconnect unused: " + error_name(disconnect_error(fd)));
    CHECK_THAT(connect_error(fd, first) == 0);
    CHECK_THAT(echo_round_trip(fd));
    CHECK_THAT(disconnect_error(fd) == 0);
    CHECK_THAT(peer_address(fd).family() == 0);
    const auto kept = local_port(fd);
    say(kept == 0 ? "no port after disconnect" : "port after disconnect");
    CHECK_THAT(connect_error(fd, second) == 0);
    same += local_port(fd) == kept ? 1 : 0;
    CHECK_THAT(peer_address(fd).text() == second.text());
    CHECK_THAT(echo_round_trip(fd));
    CHECK_THAT(close(fd) == 0);
  }
  // By chance now and then.
  say(same <= 5 ? "another port each time" : "the same port");
}

// The peer goes, the socket is disconnected, and used for listening: RFC-wise odd, on Linux
// allowed.
GUEST(disconnect_and_listen) {
  const int fd = connected_socket(SocketAddress(arguments.at(0)));
  CHECK_THAT(fd >= 0);
  CHECK_THAT(disconnect_error(fd) == 0);
  CHECK_THAT(listen(fd, 5) == 0);
  const auto port = local_port(fd);
  CHECK_THAT(port >= kLowPort && port <= kHighPort);
  CHECK_THAT(connected_socket(SocketAddress("127.0.0.1:" + std::to_string(port))) >= 0);
  CHECK_THAT(accept(fd, nullptr, nullptr) >= 0);
}

class ConnectAgain : public PooledNet {
 protected:
  ConnectAgain() {
    poold.make_lanes({kEcho, kOtherEcho});
    // Nobody listens there: a lane all the same.
    run_guest("after_refusal", poold.shim(), {kEcho});
  }
};

TEST_F(ConnectAgain, AfterRefusal) {
  expect_same_as_native("after_refusal", poold.shim(), {kEcho});
}
TEST_F(ConnectAgain, AfterRefusalNonBlocking) {
  expect_same_as_native("after_refusal_nonblocking", poold.shim(), {kEcho});
}
TEST_F(ConnectAgain, DisconnectAndConnect) {
  expect_same_as_native("disconnect_and_connect", poold.shim(), {kEcho, kOtherEcho});
  expect_same_as_native("disconnect_and_connect", poold.shim(), {kEcho, kEcho});
}
TEST_F(ConnectAgain, DisconnectAndListen) {
  expect_same_as_native("disconnect_and_listen", poold.shim(), {kEcho});
}

// However the connections ended, no port stays taken in the lane.
TEST_F(ConnectAgain, PortsComeBack) {
  EXPECT_EQ(run_guest("after_refusal", poold.shim(), {kEcho}), GuestResult{});
  EXPECT_EQ(run_guest("disconnect_and_connect", poold.shim(), {kEcho, kOtherEcho}).status, 0);
  EXPECT_TRUE(poold.eventually_status([](const nlohmann::json& now) {
    const nlohmann::json lane = lane_of(now, "127.0.0.1:9999");
    return !lane.is_null() && lane.at("free") == lane.at("capacity");
  })) << poold.status();
  EXPECT_TRUE(poold.eventually_status([](const nlohmann::json& now) {
    return lane_of(now, kEcho).at("in_use") == 0 && lane_of(now, kOtherEcho).at("in_use") == 0;
  })) << poold.status();
}

}  // namespace
}  // namespace portpool::test
