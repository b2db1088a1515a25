// What the library remembers of a descriptor may be of another socket than the one that has the
// number now: closed or replaced where no function of ours sees it. The socket that is there is
// left as the program made it.
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <thread>

#include "portpool/linux.h"
#include "system/integration/common.h"

namespace portpool::test {
namespace {

constexpr std::uint32_t kOwnRange = 20'909U << 16 | 20'901U;
const SocketAddress& nobody() {
  static const SocketAddress address("127.0.0.1:9999");
  return address;
}

// What the kernel has, past the library.
std::uint32_t range_of(int fd) {
  std::uint32_t range = 0;
  socklen_t length = sizeof range;
  CHECK_THAT(syscall(SYS_getsockopt, fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, &range, &length) == 0);
  return range;
}

void set_range(int fd, std::uint32_t range) {
  CHECK_THAT(setsockopt(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, &range, sizeof range) == 0);
}

void close_unseen(int fd, const std::string& way) {
  if (way == "fclose") {
    FILE* stream = fdopen(fd, "r+");
    CHECK_THAT(stream != nullptr && fclose(stream) == 0);
  } else {
    CHECK_THAT(syscall(SYS_close, fd) == 0);
  }
}

// The socket comes to another number without a function that the library knows.
void bring(int fd, int number, const std::string& way) {
  if (way == "dup") {
    CHECK_THAT(dup(fd) == number);
  } else {
    CHECK_THAT(syscall(SYS_dup3, fd, number, 0) == number);
  }
  CHECK_THAT(close(fd) == 0);
}

// Before the library may see a socket (and remember it) it is made: the lowest free number is the
// one that `make` leaves.
template <class Make>
int replaced(const std::string& closing, const std::string& bringing, int other, Make make) {
  const int number = make();
  CHECK_THAT(number >= 0 && number < other);
  close_unseen(number, closing);
  bring(other, number, bringing);
  return number;
}

// A datagram socket at a number above those that come next.
int datagram_socket() {
  const int low = socket(AF_INET, SOCK_DGRAM, 0);
  const int high = fcntl(low, F_DUPFD_CLOEXEC, 200);
  CHECK_THAT(low >= 0 && high >= 200 && close(low) == 0);
  return high;
}

int bound_stream() {
  const int fd = tcp_socket(AF_INET);
  CHECK_THAT(bind_error(fd, SocketAddress("127.0.0.1:0")) == 0);
  return fd;
}

// CLOSING BRINGING
GUEST(datagram_where_a_bound_stream_was) {
  const int fd = replaced(arguments.at(0), arguments.at(1), datagram_socket(), bound_stream);
  say(local_address(fd).text());
  CHECK_THAT(range_of(fd) == 0);
  CHECK_THAT(bind_error(fd, SocketAddress("127.0.0.1:0")) == 0);
  CHECK_THAT(local_port(fd) != 0);
}

// A datagram socket bound to port 0 has a port at once.
GUEST(datagram_where_a_stream_was) {
  const auto stream = [] { return tcp_socket(AF_INET); };
  int fd = replaced(arguments.at(0), arguments.at(1), datagram_socket(), stream);
  CHECK_THAT(bind_error(fd, SocketAddress("127.0.0.1:0")) == 0);
  say(local_port(fd) != 0 ? "a port" : "none");
  CHECK_THAT(close(fd) == 0);
  fd = replaced(arguments.at(0), arguments.at(1), datagram_socket(), stream);
  CHECK_THAT(tcp_socket(AF_INET) >= 0);  // the number is not the newest any more
  CHECK_THAT(connect_error(fd, SocketAddress(arguments.at(2))) == 0);
  CHECK_THAT(range_of(fd) == 0);
  const sockaddr nothing{AF_UNSPEC, {}};
  CHECK_THAT(connect(fd, &nothing, sizeof nothing) == 0);
  say(local_address(fd).text());
}

// Its own range stays, whatever the number stood for.
GUEST(own_range_where_a_connection_was) {
  const SocketAddress destination(arguments.at(2));
  const auto connection = [&] { return connected_socket(destination); };
  const int low = tcp_socket(AF_INET);
  set_range(low, kOwnRange);
  const int other = fcntl(low, F_DUPFD_CLOEXEC, 200);
  CHECK_THAT(other >= 200 && close(low) == 0);
  const int fd = replaced(arguments.at(0), arguments.at(1), other, connection);
  say(error_name(connect_error(fd, nobody())));
  CHECK_THAT(range_of(fd) == kOwnRange);
  const sockaddr nothing{AF_UNSPEC, {}};
  CHECK_THAT(connect(fd, &nothing, sizeof nothing) == 0);
  CHECK_THAT(range_of(fd) == kOwnRange);
  say(error_name(connect_error(fd, destination)));
  CHECK_THAT(local_port(fd) >= 20'901 && local_port(fd) <= 20'909);
  close_with_reset(fd);
}

class OtherSockets : public PooledNet {
 protected:
  void expect_same(const std::string& guest) {
    for (const char* closing : {"fclose", "system call"}) {
      for (const char* bringing : {"dup", "system call"}) {
        SCOPED_TRACE(std::string(closing) + ", " + bringing);
        expect_same_as_native(guest, poold.shim(), {closing, bringing, kEcho});
      }
    }
  }
};

TEST_F(OtherSockets, DatagramWhereABoundStreamWas) {
  expect_same("datagram_where_a_bound_stream_was");
}

TEST_F(OtherSockets, DatagramWhereAStreamWas) { expect_same("datagram_where_a_stream_was"); }

TEST_F(OtherSockets, OwnRangeWhereAConnectionWas) {
  expect_same("own_range_where_a_connection_was");
}

// A thread that has a table of descriptors of its own: the same number is another socket there.
GUEST(two_tables_of_descriptors) {
  const SocketAddress destination(arguments.at(0));
  const int before = connected_socket(destination);
  int datagram = -1;
  std::thread([&] {
    CHECK_THAT(unshare(CLONE_FILES) == 0);
    datagram = socket(AF_INET, SOCK_DGRAM, 0);
    CHECK_THAT(datagram >= 0);
    std::thread([&] {
      CHECK_THAT(unshare(CLONE_FILES) == 0);
      CHECK_THAT(close(datagram) == 0);
      CHECK_THAT(bound_stream() == datagram);
      const int second = connected_socket(destination);
      CHECK_THAT(second >= 0 && echo_round_trip(second));
      close_with_reset(second);
    }).join();
    say(local_address(datagram).text());
    CHECK_THAT(bind_error(datagram, SocketAddress("127.0.0.1:0")) == 0);
    say(local_port(datagram) != 0 ? "a port" : "none");
  }).join();
  CHECK_THAT(echo_round_trip(before));
  for (int i = 0; i < 5; ++i) {
    const int fd = connected_socket(destination);
    CHECK_THAT(fd >= 0 && echo_round_trip(fd));
    close_with_reset(fd);
  }
  close_with_reset(before);
}

TEST_F(OtherSockets, InTwoTablesOfDescriptors) {
  expect_same_as_native("two_tables_of_descriptors", poold.shim(), {kEcho});
}

// A child of vfork() closes its own descriptors, in its parent's memory. WAY
GUEST(closing_in_a_vforked_child) {
  const int on = 1;
  const int fd = tcp_socket(AF_INET);
  CHECK_THAT(setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on) == 0);
  const bool in_vfork = arguments.at(0) != "fork";
  const pid_t child = in_vfork ? vfork() : fork();
  if (child == 0) {
    if (arguments.at(0) == "close_range") {
      close_range(static_cast<unsigned>(fd), ~0U, 0);
    } else {
      closefrom(fd);
    }
    if (!in_vfork) {
      // The number is another socket's in the child: nothing is left of the option.
      const int other = tcp_socket(AF_INET);
      CHECK_THAT(fcntl(other, F_DUPFD, fd) == fd || other == fd);
      CHECK_THAT(bind_error(fd, SocketAddress("127.0.0.1:0")) == 0);
      CHECK_THAT(local_port(fd) != 0);
    }
    _exit(0);
  }
  int status = -1;
  CHECK_THAT(waitpid(child, &status, 0) == child && status == 0);
  // The option is remembered as the program's own: natively no port is taken.
  CHECK_THAT(bind_error(fd, SocketAddress("127.0.0.1:0")) == 0);
  say(local_address(fd).text());
}

TEST_F(OtherSockets, ClosingInAChild) {
  for (const char* way : {"closefrom", "close_range", "fork"}) {
    expect_same_as_native("closing_in_a_vforked_child", poold.shim(), {way});
  }
}

// What the pool does to a socket is not for the program to see.
std::string options(int fd) {
  std::string text;
  struct Option {
    int level;
    int name;
  };
  for (const Option& one :
       {Option{IPPROTO_IP, IP_LOCAL_PORT_RANGE}, Option{IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT},
        Option{SOL_SOCKET, SO_REUSEADDR}}) {
    int value = -1;
    socklen_t length = sizeof value;
    CHECK_THAT(getsockopt(fd, one.level, one.name, &value, &length) == 0);
    text += " " + std::to_string(value) + "/" + std::to_string(length);
    // A byte is enough for some.
    char byte = 7;
    length = 1;
    const int result = getsockopt(fd, one.level, one.name, &byte, &length);
    text += result == 0 ? " " + std::to_string(byte) : " " + error_name(errno);
  }
  return text;
}

GUEST(looks_at_its_options) {
  const SocketAddress destination(arguments.at(0));
  const int fresh = tcp_socket(AF_INET);
  say("fresh" + options(fresh));
  for (const bool bound : {false, true}) {
    const int fd = tcp_socket(AF_INET);
    if (bound) CHECK_THAT(bind_error(fd, SocketAddress("127.0.0.2:0")) == 0);
    say("before" + options(fd));
    CHECK_THAT(connect_error(fd, destination) == 0);
    say("connected" + options(fd));
    const int copy = dup(fd);
    if (arguments.at(1) == "port-range") say("copy" + options(copy));
    close_with_reset(fd);
    close(copy);
  }
  const int refused = tcp_socket(AF_INET);
  CHECK_THAT(connect_error(refused, nobody()) == ECONNREFUSED);
  if (arguments.at(1) == "port-range") say("refused" + options(refused));
  const int own = tcp_socket(AF_INET);
  set_range(own, kOwnRange);
  const int on = 1;
  CHECK_THAT(setsockopt(own, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0);
  CHECK_THAT(connect_error(own, destination) == 0);
  say("own" + options(own));
  close_with_reset(own);
  CHECK_THAT(getsockopt(fresh, IPPROTO_IP, IP_LOCAL_PORT_RANGE, nullptr, nullptr) == -1);
  say(error_name(errno));
}

// A listening socket that was bound to port 0, and what it accepts.
GUEST(looks_at_accepted) {
  const int listener = bound_stream();
  CHECK_THAT(listen(listener, 5) == 0);
  const int client = connected_socket(local_address(listener));
  const int accepted = accept(listener, nullptr, nullptr);
  CHECK_THAT(client >= 0 && accepted >= 0);
  say("listener" + options(listener));
  say("accepted" + options(accepted));
  int no_port = -1;
  socklen_t length = sizeof no_port;
  CHECK_THAT(syscall(SYS_getsockopt, accepted, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &no_port,
                     &length) == 0);
  say(std::to_string(no_port));
}

class OwnOptions : public PooledNet {
 protected:
  static std::string strategy() {
    const char* chosen = std::getenv("PORTPOOL_TEST_STRATEGY");
    return chosen != nullptr ? chosen : "port-range";
  }
};

TEST_F(OwnOptions, AreWhatTheProgramSees) {
  poold.make_lanes({"127.0.0.1:9002"});
  const std::uint64_t before = pool_connects(poold.status());
  expect_same_as_native("looks_at_its_options", poold.shim(), {kEcho, strategy()});
  EXPECT_GT(pool_connects(poold.status()), before);
}

TEST_F(OwnOptions, AreWhatAcceptedSocketsHave) {
  expect_same_as_native("looks_at_accepted", poold.shim());
}

}  // namespace
}  // namespace portpool::test
