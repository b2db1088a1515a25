// What a program can see of its sockets, row by row: each row is a few calls whose results are said
// aloud, natively and under the shim. Rows that other topics have (connect_errors, bind_deferred,
// descriptors) are not repeated.
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "portpool/linux.h"
#include "system/integration/common.h"

namespace portpool::test {
namespace {

void row(const std::string& what, int result) {
  say(what + ": " + (result < 0 ? error_name(errno) : std::to_string(result)));
}

// The bool of an option; -1 when it cannot be read.
int option(int fd, int level, int name) {
  int value = 0;
  socklen_t length = sizeof value;
  return getsockopt(fd, level, name, &value, &length) == 0 ? value : -1;
}

void set_option(int fd, int level, int name, int value) {
  CHECK_THAT(setsockopt(fd, level, name, &value, sizeof value) == 0);
}

int call_connect(int fd, const SocketAddress& to) { return connect(fd, to.raw(), to.length); }
int call_bind(int fd, const SocketAddress& to) { return bind(fd, to.raw(), to.length); }

// An address without the port, which the kernel or the pool chooses.
std::string without_port(const SocketAddress& address) {
  const std::string text = address.text();
  return address.family() == 0
             ? "none"
             : text.substr(0, text.rfind(':')) + (address.port() != 0 ? ":p" : ":0");
}

void say_names(const std::string& what, int fd) {
  say(what + ": " + without_port(local_address(fd)) + " " + peer_address(fd).text());
}

// A listener whose queue is full: SYNs to it are dropped.
SocketAddress silent_address() {
  static const SocketAddress silent("127.0.0.1:9100");
  static const int listener = [] {
    const int fd = tcp_socket(AF_INET);
    CHECK_THAT(bind_error(fd, silent) == 0 && listen(fd, 0) == 0);
    CHECK_THAT(connected_socket(silent) >= 0);
    return fd;
  }();
  CHECK_THAT(listener >= 0);
  return silent;
}

GUEST(names_before_and_after) {
  for (const std::string& text : arguments) {
    const SocketAddress to(text);
    const int fd = tcp_socket(to.family());
    say_names("new", fd);
    row("peer of new", [&] {
      sockaddr_storage name;
      socklen_t length = sizeof name;
      return getpeername(fd, reinterpret_cast<sockaddr*>(&name), &length);
    }());
    row("connect", call_connect(fd, to));
    say_names("connected", fd);
    const auto port = local_port(fd);
    row("shutdown", shutdown(fd, SHUT_WR));
    char rest;
    row("read", static_cast<int>(read(fd, &rest, 1)));
    CHECK_THAT(port == local_port(fd));
    close(fd);
    row("closed", call_connect(fd, to));
  }
}

GUEST(options_after_connect) {
  const SocketAddress to(arguments.at(0));
  const int fd = tcp_socket(AF_INET);
  const auto say_options = [&](const std::string& when) {
    row(when + ", SO_ERROR", option(fd, SOL_SOCKET, SO_ERROR));
    row(when + ", SO_REUSEPORT", option(fd, SOL_SOCKET, SO_REUSEPORT));
    row(when + ", IP_BIND_ADDRESS_NO_PORT", option(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT));
  };
  say_options("before");
  CHECK_THAT(call_connect(fd, to) == 0);
  say_options("after");
}

GUEST(runs_into_timeouts) {
  const SocketAddress silent = silent_address();
  const int timed = tcp_socket(AF_INET);
  const timeval brief{0, 50'000};
  CHECK_THAT(setsockopt(timed, SOL_SOCKET, SO_SNDTIMEO, &brief, sizeof brief) == 0);
  row("SO_SNDTIMEO", call_connect(timed, silent));
  row("again", call_connect(timed, silent));
  say_names("then", timed);
  close(timed);
  const int given_up = tcp_socket(AF_INET);
  set_option(given_up, IPPROTO_TCP, TCP_USER_TIMEOUT, 100);
  row("TCP_USER_TIMEOUT", call_connect(given_up, silent));
  row("SO_ERROR after it", option(given_up, SOL_SOCKET, SO_ERROR));
  row("elsewhere", call_connect(given_up, SocketAddress(arguments.at(0))));
}

GUEST(finds_out_later) {
  const SocketAddress refusing("127.0.0.1:9999");
  const int fd = tcp_socket(AF_INET, SOCK_NONBLOCK);
  row("non-blocking", call_connect(fd, refusing));
  pollfd ready{fd, POLLOUT, 0};
  CHECK_THAT(poll(&ready, 1, 10'000) == 1);
  row("events", ready.revents);
  row("SO_ERROR", option(fd, SOL_SOCKET, SO_ERROR));
  row("SO_ERROR once more", option(fd, SOL_SOCKET, SO_ERROR));
  say_names("then", fd);
  const int asked = tcp_socket(AF_INET, SOCK_NONBLOCK);
  row("non-blocking", call_connect(asked, refusing));
  ready = {asked, POLLOUT, 0};
  CHECK_THAT(poll(&ready, 1, 10'000) == 1);
  row("asked by connect()", call_connect(asked, refusing));
}

GUEST(opens_fast) {
  const SocketAddress to(arguments.at(0));
  for (int i = 0; i < 3; ++i) {
    const int fd = tcp_socket(AF_INET);
    set_option(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1);
    row("TCP_FASTOPEN_CONNECT", call_connect(fd, to));
    row("echo", echo_round_trip(fd));
    say_names("then", fd);
    close(fd);
    const int sending = tcp_socket(AF_INET);
    row("MSG_FASTOPEN",
        static_cast<int>(sendto(sending, "x", 1, MSG_FASTOPEN, to.raw(), to.length)));
    close(sending);
  }
}

GUEST(binds_against_connected) {
  const SocketAddress to(arguments.at(0));
  const int connected = connected_socket(to);
  CHECK_THAT(connected >= 0);
  const SocketAddress own = local_address(connected);
  const SocketAddress any("0.0.0.0:" + std::to_string(own.port()));
  for (const SocketAddress& address : {own, any}) {
    const int plain = tcp_socket(AF_INET);
    row("its port", call_bind(plain, address));
    close(plain);
    const int shared = tcp_socket(AF_INET);
    set_option(shared, SOL_SOCKET, SO_REUSEPORT, 1);
    row("its port, SO_REUSEPORT", call_bind(shared, address));
    close(shared);
  }
  row("once more on the connected", call_bind(connected, SocketAddress("127.0.0.1:0")));
  row("listen on the connected", listen(connected, 5));
  CHECK_THAT(echo_round_trip(connected));
}

// With the bind strategy SO_REUSEADDR is the pool's means, and stays on the socket.
GUEST(binds_with_reuse_against_connected) {
  const int connected = connected_socket(SocketAddress(arguments.at(0)));
  row("SO_REUSEADDR", option(connected, SOL_SOCKET, SO_REUSEADDR));
  const int shared = tcp_socket(AF_INET);
  set_option(shared, SOL_SOCKET, SO_REUSEADDR, 1);
  row("its port, SO_REUSEADDR", call_bind(shared, local_address(connected)));
}

GUEST(shares_own_ports) {
  const SocketAddress mine("127.0.0.1:" + std::to_string(kLowPort + 77));
  for (const int name : {SO_REUSEADDR, SO_REUSEPORT}) {
    int fds[2];
    int i = 0;
    for (const char* text : {"127.0.0.1:9001", "127.0.0.1:9002"}) {
      const int fd = fds[i++] = tcp_socket(AF_INET);
      set_option(fd, SOL_SOCKET, name, 1);
      row("bind", call_bind(fd, mine));
      row("connect", call_connect(fd, SocketAddress(text)));
      say("name: " + local_address(fd).text());
    }
    const int third = tcp_socket(AF_INET);
    set_option(third, SOL_SOCKET, name, 1);
    row("third bind", call_bind(third, mine));
    row("third connect, same peer", call_connect(third, SocketAddress("127.0.0.1:9001")));
    close(third);
    for (const int fd : fds) close_with_reset(fd);
  }
}

GUEST(lacks_rights) {
  if (setgid(65534) != 0 || setuid(65534) != 0) say("no rights to give away");
  const int fd = tcp_socket(AF_INET);
  row("privileged port", call_bind(fd, SocketAddress("127.0.0.1:80")));
  row("address of nobody", call_bind(fd, SocketAddress("10.99.99.99:0")));
  row("broadcast", call_connect(fd, SocketAddress("127.255.255.255:80")));
  row("after all", call_connect(fd, SocketAddress(arguments.at(0))));
  say_names("then", fd);
}

GUEST(sets_a_range_itself) {
  const int fd = tcp_socket(AF_INET);
  set_option(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, (25003 << 16) | 25003);
  row("connect", call_connect(fd, SocketAddress(arguments.at(0))));
  say("name: " + local_address(fd).text());
  row("its range", option(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE));
  const int other = tcp_socket(AF_INET);
  set_option(other, IPPROTO_IP, IP_LOCAL_PORT_RANGE, (25003 << 16) | 25003);
  row("another", call_connect(other, SocketAddress(arguments.at(0))));
  row("no such range", setsockopt(other, IPPROTO_IP, IP_LOCAL_PORT_RANGE, "", 1));
  set_option(other, IPPROTO_IP, IP_LOCAL_PORT_RANGE, 0);
  row("without it", call_connect(other, SocketAddress(arguments.at(0))));
  close_with_reset(fd);
  close_with_reset(other);
}

// bind(address, 0) and then everything but connect().
GUEST(uses_a_bound_socket) {
  const SocketAddress here("127.0.0.1:0");
  const int listener = tcp_socket(AF_INET);
  row("bind", call_bind(listener, here));
  row("listen", listen(listener, 5));
  const SocketAddress name = local_address(listener);
  say("name: " + without_port(name));
  const int client = connected_socket(name);
  row("connect to it", client < 0 ? -1 : 0);
  const int accepted = accept(listener, nullptr, nullptr);
  row("accept", accepted < 0 ? -1 : 0);
  CHECK_THAT(local_port(accepted) == name.port());
  const int asked = tcp_socket(AF_INET);
  row("bind", call_bind(asked, here));
  const auto port = local_port(asked);
  row("has a port", port != 0);
  row("listen", listen(asked, 5));
  row("same port", port == local_port(asked));
  row("connect a listener", call_connect(asked, name));
}

class Semantics : public PooledNet {
 protected:
  void compare(const std::string& guest, const Arguments& arguments = {kEcho}) const {
    expect_same_as_native(guest, poold.shim(), arguments);
  }
};

TEST_F(Semantics, NamesBeforeAndAfter) {
  poold.make_lanes({"[::1]:9001"});
  compare("names_before_and_after", {kEcho, "[::1]:9001", "[::ffff:127.0.0.1]:9001"});
}
TEST_F(Semantics, OptionsAfterConnect) { compare("options_after_connect"); }
TEST_F(Semantics, Timeouts) {
  run_guest("runs_into_timeouts", poold.shim(), {kEcho});  // makes the lane
  compare("runs_into_timeouts");
}
TEST_F(Semantics, RefusalThatComesLater) {
  run_guest("finds_out_later", poold.shim());
  compare("finds_out_later");
}
TEST_F(Semantics, FastOpen) {
  net.set_sysctl("net.ipv4.tcp_fastopen", "3");
  compare("opens_fast");
}
TEST_F(Semantics, BindAgainstConnected) { compare("binds_against_connected"); }
TEST_F(Semantics, ReuseAddressAgainstConnected) { compare("binds_with_reuse_against_connected"); }
TEST_F(Semantics, PortsOfItsOwnThatAreShared) { compare("shares_own_ports"); }
TEST_F(Semantics, WithoutRights) { compare("lacks_rights"); }
TEST_F(Semantics, RangeOfItsOwn) { compare("sets_a_range_itself"); }
TEST_F(Semantics, BoundSockets) { compare("uses_a_bound_socket"); }

}  // namespace
}  // namespace portpool::test
