// bind(address, 0): to the program as ever, but no port is taken before one is needed.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "portpool/linux.h"
#include "system/integration/common.h"

namespace portpool::test {
namespace {

int bound_socket(const SocketAddress& address) {
  const int fd = tcp_socket(address.family());
  CHECK_THAT(fd >= 0);
  CHECK_THAT(bind_error(fd, address) == 0);
  return fd;
}

bool in_range(int port) { return port >= kLowPort && port <= kHighPort; }

void accept_one(int listener, const SocketAddress& at) {
  const int client = connected_socket(at);
  CHECK_THAT(client >= 0);
  const int accepted = accept(listener, nullptr, nullptr);
  CHECK_THAT(accepted >= 0);
  close_with_reset(client);
  close(accepted);
}

// The address to reach a socket that is bound to `local`, which may be a wildcard.
SocketAddress reachable(const SocketAddress& local) {
  const std::string port = ":" + std::to_string(local.port());
  return SocketAddress((local.family() == AF_INET ? "127.0.0.1" : "[::1]") + port);
}

const std::vector<std::string> kAnyPort{"127.0.0.1:0", "127.0.0.2:0", "0.0.0.0:0",
                                        "[::1]:0",     "[::]:0",      "[::ffff:127.0.0.1]:0"};

GUEST(name_after_bind) {
  for (const std::string& text : kAnyPort) {
    const int fd = bound_socket(SocketAddress(text));
    const SocketAddress first = local_address(fd);
    CHECK_THAT(in_range(first.port()));
    CHECK_THAT(local_address(fd).text() == first.text());
    // The port is really held: nobody else gets it.
    CHECK_THAT(bind_error(tcp_socket(first.family()), first) == EADDRINUSE);
    CHECK_THAT(listen(fd, 1) == 0);
    CHECK_THAT(local_address(fd).text() == first.text());
    SocketAddress target = reachable(first);
    if (text == "127.0.0.2:0") target = first;
    if (text.starts_with("[::ffff:"))
      target = SocketAddress("127.0.0.1:" + std::to_string(first.port()));
    accept_one(fd, target);
    close(fd);
  }
}

GUEST(listen_after_bind) {
  for (const char* text : {"127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"}) {
    const int fd = bound_socket(SocketAddress(text));
    CHECK_THAT(listen(fd, 1) == 0);
    const SocketAddress local = local_address(fd);
    CHECK_THAT(in_range(local.port()));
    accept_one(fd, reachable(local));
    close(fd);
  }
}

GUEST(connect_after_bind) {
  const SocketAddress destination(arguments.at(0));
  for (int i = 0; i < 20; ++i) {
    const int fd = bound_socket(SocketAddress("127.0.0.2:0"));
    CHECK_THAT(connect_error(fd, destination) == 0);
    CHECK_THAT(local_address(fd).text().starts_with("127.0.0.2:"));
    CHECK_THAT(in_range(local_port(fd)));
    CHECK_THAT(echo_round_trip(fd));
    // No TIME_WAIT: natively it would be that of a bound port, and the pool might learn too late
    // that it cannot promise it.
    close_with_reset(fd);

    const int asked = bound_socket(SocketAddress("127.0.0.2:0"));
    const SocketAddress before = local_address(asked);
    CHECK_THAT(connect_error(asked, destination) == 0);
    CHECK_THAT(local_address(asked).text() == before.text());
    CHECK_THAT(echo_round_trip(asked));
    close_with_reset(asked);

    const int wildcard = bound_socket(SocketAddress("0.0.0.0:0"));
    CHECK_THAT(connect_error(wildcard, destination) == 0);
    CHECK_THAT(local_address(wildcard).text().starts_with("127.0.0.1:"));
    close_with_reset(wildcard);
  }
}

GUEST(bind_errors) {
  const auto bind_says = [](const std::string& what, int fd, const SocketAddress& address) {
    say(what + ": " + error_name(bind_error(fd, address)));
  };
  const SocketAddress any("127.0.0.1:0");
  const int fd = bound_socket(any);
  bind_says("second bind", fd, any);
  bind_says("second bind, with a port", fd, SocketAddress("127.0.0.1:25000"));
  bind_says("second bind, elsewhere", fd, SocketAddress("127.0.0.2:0"));
  CHECK_THAT(in_range(local_port(fd)));

  const int connected = connected_socket(SocketAddress(arguments.at(0)));
  bind_says("connected", connected, any);
  bind_says("not a local address", tcp_socket(AF_INET), SocketAddress("10.1.2.3:0"));
  bind_says("not a local IPv6 address", tcp_socket(AF_INET6), SocketAddress("[2001:db8::1]:0"));
  bind_says("IPv6 address, IPv4 socket", tcp_socket(AF_INET), SocketAddress("[::1]:0"));
  bind_says("IPv4 address, IPv6 socket", tcp_socket(AF_INET6), any);
  bind_says("in use", tcp_socket(AF_INET), SocketAddress("127.0.0.1:9001"));
  bind_says("no socket", -1, any);
  SocketAddress shorter = any;
  shorter.length = 8;
  bind_says("short", tcp_socket(AF_INET), shorter);
  errno = 0;
  say("null: " +
      error_name(bind(tcp_socket(AF_INET), nullptr, sizeof(sockaddr_in)) == 0 ? 0 : errno));
}

// SO_REUSEADDR and SO_REUSEPORT, on this and on another socket with the same port.
GUEST(reuse_options) {
  for (const int first : {0, SO_REUSEADDR, SO_REUSEPORT}) {
    for (const int second : {0, SO_REUSEADDR, SO_REUSEPORT}) {
      const int on = 1;
      const int a = tcp_socket(AF_INET);
      const int b = tcp_socket(AF_INET);
      if (first != 0) CHECK_THAT(setsockopt(a, SOL_SOCKET, first, &on, sizeof on) == 0);
      if (second != 0) CHECK_THAT(setsockopt(b, SOL_SOCKET, second, &on, sizeof on) == 0);
      CHECK_THAT(bind_error(a, SocketAddress("127.0.0.1:0")) == 0);
      const SocketAddress address = local_address(a);
      const int bound = bind_error(b, address);
      const int listens = listen(a, 1) == 0 ? 0 : errno;
      const int second_listens = bound != 0 || listen(b, 1) == 0 ? 0 : errno;
      say(std::to_string(first) + " " + std::to_string(second) + ": " + error_name(bound) + " " +
          error_name(listens) + " " + error_name(second_listens));
      close(a);
      close(b);
    }
  }
}

// The option that the shim uses is the program's to use, too.
GUEST(own_no_port_option) {
  const auto option = [](int fd) {
    int value = -1;
    socklen_t length = sizeof value;
    CHECK_THAT(getsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &value, &length) == 0);
    return std::to_string(value);
  };
  const int on = 1;
  const int fd = tcp_socket(AF_INET);
  CHECK_THAT(setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on) == 0);
  CHECK_THAT(bind_error(fd, SocketAddress("127.0.0.2:0")) == 0);
  say("port: " + std::to_string(local_port(fd)));
  say("option: " + option(fd));
  say("second bind: " + error_name(bind_error(fd, SocketAddress("127.0.0.3:0"))));
  CHECK_THAT(connect_error(fd, SocketAddress(arguments.at(0))) == 0);
  say(local_address(fd).text().substr(0, 10));
  close_with_reset(fd);
}

// Whoever holds the socket may ask for the port, and all get the same answer.
GUEST(name_through_others) {
  for (const char* text : {"127.0.0.2:0", "0.0.0.0:0"}) {
    const int fd = bound_socket(SocketAddress(text));
    const int copy = dup(fd);
    say(std::string(text) + ", dup: " + (in_range(local_port(copy)) ? "a port" : "no port"));
    CHECK_THAT(local_port(fd) == local_port(copy));

    const int inherited = bound_socket(SocketAddress(text));
    const pid_t child = fork();
    if (child == 0) {
      say(std::string(text) +
          ", child: " + (in_range(local_port(inherited)) ? "a port" : "no port"));
      _exit(0);
    }
    int status = -1;
    CHECK_THAT(waitpid(child, &status, 0) == child && status == 0);
    CHECK_THAT(in_range(local_port(inherited)));
  }
}

GUEST(name_after_exec) {
  const int fd = std::stoi(arguments.at(0));
  CHECK_THAT(in_range(local_port(fd)));
}

GUEST(bind_and_exec) {
  const int fd = bound_socket(SocketAddress(arguments.at(0)));
  CHECK_THAT(fcntl(fd, F_SETFD, 0) == 0);
  become_guest("name_after_exec", {std::to_string(fd)});
}

// DESTINATION: asks for the port of a socket while there is none to be had.
GUEST(name_when_none_is_free) {
  std::vector<int> held;
  for (int port = kLowPort; port < kLowPort + 8; ++port) {
    held.push_back(bound_socket(SocketAddress("0.0.0.0:" + std::to_string(port))));
  }
  const int fd = bound_socket(SocketAddress("127.0.0.2:0"));
  CHECK_THAT(local_address(fd).text() == "127.0.0.2:0");
  CHECK_THAT(listen(fd, 1) == -1 && errno == EADDRINUSE);
  CHECK_THAT(connect_error(fd, SocketAddress(arguments.at(0))) == EADDRNOTAVAIL);
  for (const int other : held) close(other);
  CHECK_THAT(connect_error(fd, SocketAddress(arguments.at(0))) == 0);
  CHECK_THAT(local_address(fd).text().starts_with("127.0.0.2:"));
}

class BindDeferred : public PooledNet {};

TEST_F(BindDeferred, TheAddressStaysWhereNoPortIsFree) {
  net.set_port_range(kLowPort, kLowPort + 7);
  EXPECT_TRUE(poold.eventually_status([](const nlohmann::json& now) {
    return now.at("port_range").at("high") == kLowPort + 7 &&
           now.at("lanes").at(0).at("capacity") == 8;
  }));
  EXPECT_EQ(run_guest("name_when_none_is_free", poold.shim(), {kEcho}), GuestResult{});
}

TEST_F(BindDeferred, GetsocknameGivesARealPort) {
  expect_same_as_native("name_after_bind", poold.shim());
}
TEST_F(BindDeferred, ListenWithoutAskingForThePort) {
  expect_same_as_native("listen_after_bind", poold.shim());
}
TEST_F(BindDeferred, ConnectKeepsTheAddress) {
  expect_same_as_native("connect_after_bind", poold.shim(), {kEcho});
  EXPECT_TRUE(poold.eventually_status([](const nlohmann::json& now) {
    for (const nlohmann::json& lane : now.at("lanes")) {
      if (lane.at("source") == "127.0.0.2" && lane.at("destination") == kEcho) return true;
    }
    return false;
  })) << poold.status();
  const nlohmann::json before = poold.status();
  expect_same_as_native("connect_after_bind", poold.shim(), {kEcho});
  // One of each round's three sockets had asked for its port before.
  EXPECT_EQ(pool_connects(poold.status()) - pool_connects(before), 60U);
}
TEST_F(BindDeferred, ErrorsAreTheSame) {
  expect_same_as_native("bind_errors", poold.shim(), {kEcho});
}
TEST_F(BindDeferred, ReuseOptions) { expect_same_as_native("reuse_options", poold.shim()); }
TEST_F(BindDeferred, OwnUseOfTheOption) {
  expect_same_as_native("own_no_port_option", poold.shim(), {kEcho});
}
TEST_F(BindDeferred, NameThroughDupAndFork) {
  expect_same_as_native("name_through_others", poold.shim());
}
TEST_F(BindDeferred, NameAfterExec) {
  expect_same_as_native("bind_and_exec", poold.shim(), {"127.0.0.2:0"});
  expect_same_as_native("bind_and_exec", poold.shim(), {"0.0.0.0:0"});
}

// DESTINATION SOCKETS CONNECTS: binds many, connects none of them, then connects others.
GUEST(bound_not_connected) {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  int bound = 0;
  int error = 0;
  while (error == 0 && bound < std::stoi(arguments.at(1))) {
    error = bind_error(tcp_socket(AF_INET), SocketAddress("127.0.0.1:0"));
    if (error == 0) ++bound;
  }
  say("bound " + std::to_string(bound) + ": " + error_name(error));
  int connected = 0;
  int failed = 0;
  while (connected < std::stoi(arguments.at(2))) {
    const int fd = connected_socket(SocketAddress(arguments.at(0)));
    if (fd < 0) {
      failed = errno;
      break;
    }
    CHECK_THAT(echo_round_trip(fd));
    ++connected;
  }
  say("connected " + std::to_string(connected) + ": " + error_name(failed));
}

TEST_F(EchoNet, SocketsThatAreNeverConnectedHoldNoPort) {
  net.set_port_range(kLowPort, kLowPort + 999);
  const Arguments arguments{kEcho, "3000", "900"};
  EXPECT_EQ(run_guest("bound_not_connected", native(), arguments),
            (GuestResult{0, "bound 1000: EADDRINUSE\nconnected 0: EADDRNOTAVAIL\n", ""}));
  const Poold poold;
  poold.make_lanes({kEcho});
  const GuestResult pooled = run_guest("bound_not_connected", poold.shim(), arguments);
  EXPECT_EQ(pooled, (GuestResult{0, "bound 3000: ok\nconnected 900: ok\n", ""}));
}

}  // namespace
}  // namespace portpool::test
