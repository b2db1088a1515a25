// Calls that fail, fail as they do natively; calls that succeed leave errno alone.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <vector>

#include "system/integration/common.h"

namespace portpool::test {
namespace {

void say_error(const std::string& what, int result) {
  say(what + ": " + error_name(result == 0 ? 0 : errno));
}

// connect() with each part of the call wrong in turn.
GUEST(wrong_calls) {
  const SocketAddress good(arguments.at(0));
  const auto call = [&](const std::string& what, int fd, const sockaddr* address,
                        socklen_t length) {
    errno = 0;
    say_error(what, connect(fd, address, length));
  };
  int channel[2];
  CHECK_THAT(pipe(channel) == 0);
  const int closed = tcp_socket(AF_INET);
  close(closed);
  call("fd -1", -1, good.raw(), good.length);
  call("fd far too large", 1 << 30, good.raw(), good.length);
  call("closed fd", closed, good.raw(), good.length);
  call("pipe", channel[0], good.raw(), good.length);

  const int fd = tcp_socket(AF_INET);
  call("null address", fd, nullptr, good.length);
  call("null address of no length", fd, nullptr, 0);
  for (const socklen_t length : {0U, 1U, 2U, 8U, 15U}) {
    call("length " + std::to_string(length), fd, good.raw(), length);
  }
  call("negative length", fd, good.raw(), static_cast<socklen_t>(-1));
  call("huge length", fd, good.raw(), 4096);
  SocketAddress odd = good;
  odd.storage.ss_family = 99;
  call("unknown family", fd, odd.raw(), odd.length);
  const SocketAddress v6("[::1]:9001");
  call("IPv6 address, IPv4 socket", fd, v6.raw(), v6.length);
  const int fd6 = tcp_socket(AF_INET6);
  call("IPv4 address, IPv6 socket", fd6, good.raw(), good.length);
  for (const socklen_t length : {16U, 23U, 24U}) {
    call("IPv6 length " + std::to_string(length), fd6, v6.raw(), length);
  }
}

// Destinations that a socket cannot reach, each with a new socket and then with the same once more.
GUEST(unreachable) {
  for (const char* text :
       {"127.0.0.1:9999", "127.0.0.1:0", "10.99.99.99:80", "255.255.255.255:80", "224.0.0.1:80",
        "0.0.0.0:9999", "[::1]:9999", "[::]:9999", "[2001:db8::1]:80", "[ff02::1]:80",
        "[fe80::1]:80", "[::ffff:127.0.0.1]:9999", "[::ffff:10.99.99.99]:80"}) {
    const SocketAddress destination(text);
    const int fd = tcp_socket(destination.family());
    for (int i = 0; i < 3; ++i) {
      say(std::string(text) + ": " + error_name(connect_error(fd, destination)));
    }
    close(fd);
  }
}

// A second connect() on a socket that is connected, listens, or is still connecting.
GUEST(not_the_first_call) {
  const SocketAddress destination(arguments.at(0));
  const int connected = connected_socket(destination);
  CHECK_THAT(connected >= 0);
  const auto port = local_port(connected);
  say("connected: " + error_name(connect_error(connected, destination)));
  say("elsewhere: " + error_name(connect_error(connected, SocketAddress("127.0.0.1:9002"))));
  CHECK_THAT(local_port(connected) == port);
  CHECK_THAT(echo_round_trip(connected));

  const int listener = tcp_socket(AF_INET);
  CHECK_THAT(bind_error(listener, SocketAddress("127.0.0.1:9100")) == 0);
  CHECK_THAT(listen(listener, 0) == 0);
  say("listening: " + error_name(connect_error(listener, destination)));

  // With its queue full the listener drops SYNs: the connection stays in progress.
  const SocketAddress full("127.0.0.1:9100");
  int fd = -1;
  for (int i = 0; i < 8; ++i) {
    fd = tcp_socket(AF_INET, SOCK_NONBLOCK);
    CHECK_THAT(connect_error(fd, full) == EINPROGRESS);
  }
  say("in progress: " + error_name(connect_error(fd, full)));
  say("in progress, elsewhere: " + error_name(connect_error(fd, destination)));
  CHECK_THAT(local_port(fd) != 0);

  const int done = tcp_socket(AF_INET, SOCK_NONBLOCK);
  CHECK_THAT(connect_error(done, destination) == EINPROGRESS);
  CHECK_THAT(finish_connect(done) == 0);
  say("finished, asked once: " + error_name(connect_error(done, destination)));
  say("finished, asked twice: " + error_name(connect_error(done, destination)));
  CHECK_THAT(echo_round_trip(done));
}

GUEST(errno_is_kept) {
  const SocketAddress destination(arguments.at(0));
  constexpr int kMark = 77;
  const auto check = [](const char* what, int result) {
    const int seen = errno;
    if (result < 0 || seen != kMark) say(std::string(what) + ": " + error_name(seen));
    CHECK_THAT(result >= 0 && seen == kMark);
    errno = kMark;
  };
  for (int i = 0; i < 3; ++i) {
    errno = kMark;
    const int fd = tcp_socket(AF_INET);
    check("socket", fd);
    const SocketAddress any("127.0.0.1:0");
    check("bind", bind(fd, any.raw(), any.length));
    check("connect", connect(fd, destination.raw(), destination.length));
    SocketAddress local;
    local.length = sizeof local.storage;
    check("getsockname", getsockname(fd, local.raw(), &local.length));
    const linger reset{1, 0};
    check("setsockopt", setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset));
    check("fcntl", fcntl(fd, F_SETFD, FD_CLOEXEC));
    check("dup2", dup2(fd, 200));
    check("close", close(fd));
    check("close", close(200));
  }
}

class ConnectErrors : public PooledNet {
 protected:
  // Every destination of `unreachable` that can have a lane has one before the comparison.
  ConnectErrors() { run_guest("unreachable", poold.shim()); }
};

TEST_F(ConnectErrors, WrongCalls) { expect_same_as_native("wrong_calls", poold.shim(), {kEcho}); }
TEST_F(ConnectErrors, Unreachable) { expect_same_as_native("unreachable", poold.shim()); }
TEST_F(ConnectErrors, NotTheFirstCall) {
  expect_same_as_native("not_the_first_call", poold.shim(), {kEcho});
}
TEST_F(ConnectErrors, ErrnoIsKeptOnSuccess) {
  expect_same_as_native("errno_is_kept", poold.shim(), {kEcho});
}
TEST_F(ConnectErrors, ResultsAreCounted) {
  const nlohmann::json before = poold.status();
  const std::vector<std::string> refused{"127.0.0.1:9999"};
  EXPECT_EQ(run_guest("refused_often", poold.shim(), {"127.0.0.1:9999", "20"}), GuestResult{});
  const nlohmann::json after = poold.status();
  EXPECT_EQ(after.at("results").at("ECONNREFUSED").get<int>() -
                before.at("results").at("ECONNREFUSED").get<int>(),
            20);
}

GUEST(refused_often) {
  const SocketAddress destination(arguments.at(0));
  for (int i = 0; i < std::stoi(arguments.at(1)); ++i) {
    const int fd = tcp_socket(AF_INET);
    CHECK_THAT(connect_error(fd, destination) == ECONNREFUSED);
    CHECK_THAT(close(fd) == 0);
  }
}

}  // namespace
}  // namespace portpool::test
