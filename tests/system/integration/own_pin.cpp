// The pool's own pin is not the program's: a socket whose connect() was refused may be connected
// again in every way that it can be reached, also where the shim has lost sight of it.
#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <memory>
#include <vector>

#include "portpool/linux.h"
#include "support/holder.h"
#include "system/integration/common.h"

namespace portpool::test {
namespace {

// In a narrow range a port that was pinned for the first destination is almost always taken toward
// the second: all but one are.
constexpr int kRounds = 12;
constexpr int kNarrow = 8;
const std::string kNobody = "127.0.0.1:9999";

// A non-blocking socket whose connect() was refused, which the program has learnt from poll().
int refused_socket() {
  const int fd = tcp_socket(AF_INET, SOCK_NONBLOCK);
  CHECK_THAT(fd >= 0);
  CHECK_THAT(connect_error(fd, SocketAddress(kNobody)) == EINPROGRESS);
  pollfd entry{fd, POLLOUT, 0};
  CHECK_THAT(poll(&entry, 1, 60'000) == 1 && (entry.revents & POLLERR) != 0);
  return fd;
}

// ECONNREFUSED or ECONNABORTED first (__inet_stream_connect), when nobody has asked how it went.
void connect_again(int fd, const SocketAddress& destination) {
  int error = connect_error(fd, destination);
  say("at first " + error_name(error));
  if (error == ECONNREFUSED || error == ECONNABORTED) error = connect_error(fd, destination);
  if (error == EINPROGRESS) error = finish_connect(fd);
  say("then " + error_name(error));
  CHECK_THAT(error == 0);
  CHECK_THAT(peer_address(fd).text() == destination.text());
  CHECK_THAT(echo_round_trip(fd));
}

void ask_for_error(int fd) { CHECK_THAT(finish_connect(fd) == ECONNREFUSED); }

GUEST(on_a_duplicate) {
  const SocketAddress destination(arguments.at(0));
  for (int i = 0; i < kRounds; ++i) {
    const int fd = refused_socket();
    if (i % 3 == 0) ask_for_error(fd);
    const int second = i % 2 == 0 ? dup(fd) : fcntl(fd, F_DUPFD_CLOEXEC, 50);
    CHECK_THAT(second >= 0);
    connect_again(second, destination);
    CHECK_THAT(close(fd) == 0);
    CHECK_THAT(echo_round_trip(second));
    close_with_reset(second);
  }
}

// The first descriptor is gone when the second is used.
GUEST(on_the_duplicate_left) {
  const SocketAddress destination(arguments.at(0));
  for (int i = 0; i < kRounds; ++i) {
    const int fd = refused_socket();
    const int second = dup(fd);
    CHECK_THAT(second >= 0 && close(fd) == 0);
    connect_again(second, destination);
    close_with_reset(second);
  }
}

// The child shares the parent's memory, and with it what the shim knows of descriptors.
// A child closes its copy of the descriptor.
void after_a_child(const SocketAddress& destination, bool by_vfork) {
  for (int i = 0; i < kRounds; ++i) {
    const int fd = refused_socket();
    const pid_t child = by_vfork ? vfork() : fork();
    CHECK_THAT(child >= 0);
    if (child == 0) {
      close(fd);
      _exit(0);
    }
    int status = -1;
    CHECK_THAT(waitpid(child, &status, 0) == child && status == 0);
    connect_again(fd, destination);
    close_with_reset(fd);
  }
}

GUEST(after_a_vfork) { after_a_child(SocketAddress(arguments.at(0)), true); }

GUEST(after_a_fork) { after_a_child(SocketAddress(arguments.at(0)), false); }

GUEST(go_on) {
  connect_again(std::stoi(arguments.at(1)), SocketAddress(arguments.at(0)));
  close_with_reset(std::stoi(arguments.at(1)));
}

// DESTINATION WAY: another program goes on with the socket: 'attached', or 'as it is' when no
// daemon may be there. Between the refusal and that, the test has its turn.
GUEST(executed_child) {
  const bool attached = arguments.at(1) == "attached";
  std::vector<int> sockets;
  for (int i = 0; i < kRounds; ++i) sockets.push_back(refused_socket());
  say("refused");
  await_line();
  for (const int fd : sockets) {
    const pid_t child = fork();
    CHECK_THAT(child >= 0);
    if (child == 0) {
      if (!attached) unsetenv("PORTPOOL_TEST_BEGIN_ATTACHED");
      CHECK_THAT(fcntl(fd, F_SETFD, 0) == 0);
      become_guest("go_on", {arguments.at(0), std::to_string(fd)});
    }
    int status = -1;
    CHECK_THAT(waitpid(child, &status, 0) == child && status == 0);
    close(fd);
  }
}

// The process itself goes on, on the socket and on duplicates, when the daemon is gone.
GUEST(without_the_daemon) {
  const SocketAddress destination(arguments.at(0));
  std::vector<int> sockets;
  for (int i = 0; i < kRounds; ++i) sockets.push_back(refused_socket());
  say("refused");
  await_line();
  for (std::size_t i = 0; i < sockets.size(); ++i) {
    const int fd = i % 2 == 0 ? sockets[i] : dup(sockets[i]);
    CHECK_THAT(fd >= 0);
    connect_again(fd, destination);
    close_with_reset(fd);
    if (fd != sockets[i]) close(sockets[i]);
  }
}

// What Python's subprocess does (vfork, closing everything, exec), on a socket left over from
// before.
const char* const kPython = R"(
import errno, os, select, socket, struct, subprocess, sys
attempts = int(os.environ.get('PORTPOOL_TEST_BEGIN_ATTACHED', 0))
if 0 < attempts < 200 and '/memfd:portpool' not in open('/proc/self/maps').read():
    os.environ['PORTPOOL_TEST_BEGIN_ATTACHED'] = str(attempts + 1)
    os.execv(sys.executable, [sys.executable] + sys.orig_argv[1:])
for _ in range(int(sys.argv[2])):
    s = socket.socket()
    s.setblocking(False)
    assert s.connect_ex(('127.0.0.1', 9999)) == errno.EINPROGRESS
    poll = select.poll()
    poll.register(s, select.POLLOUT)
    assert poll.poll(60000)[0][1] & select.POLLERR
    subprocess.run(['/bin/true'], close_fds=True, check=True, env={})
    host, port = sys.argv[1].split(':')
    error = s.connect_ex((host, int(port)))
    print('at first', errno.errorcode[error])
    error = s.connect_ex((host, int(port)))
    if error == errno.EINPROGRESS:
        poll.poll(60000)
        error = s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    print('then', errno.errorcode.get(error, 'ok'))
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    s.close()
)";

GuestResult run_python(const Under& under, const std::string& destination) {
  std::vector<std::string> environment;
  if (under.shim) environment = preload_environment();
  environment.insert(environment.end(), under.environment.begin(), under.environment.end());
  Process process({"/usr/bin/python3", "-c", kPython, destination, std::to_string(kRounds)},
                  environment);
  const int status = process.wait();
  return {status, process.out(), process.err()};
}

class OwnPin : public testing::Test {
 protected:
  // Lanes for both destinations, and clients that use them.
  void start(int ports) {
    net.set_port_range(kLowPort, kLowPort + ports - 1);
    server = std::make_unique<EchoServer>(std::vector<std::uint16_t>{9001});
    poold = std::make_unique<Poold>();
    poold->make_lanes({kEcho});
    EXPECT_TRUE(eventually([&] {
      const std::uint64_t before = pool_connects(poold->status());
      const GuestResult result = run_guest("pool_takes_refusals", poold->shim());
      EXPECT_EQ(result, GuestResult{});
      return pool_connects(poold->status()) - before == 5;
    })) << poold->status();
  }

  // All ports toward kEcho but one are others'.
  void fill() {
    holder = std::make_unique<Holder>(SocketAddress(kEcho), kNarrow - 1);
    ASSERT_EQ(holder->held(), static_cast<std::size_t>(kNarrow - 1)) << error_name(holder->error());
    EXPECT_TRUE(poold->eventually_status([](const nlohmann::json& now) {
      return lane_of(now, kEcho).at("free") == 1;
    })) << poold->status();
  }

  void expect_all_ways() {
    for (const char* guest :
         {"on_a_duplicate", "on_the_duplicate_left", "after_a_vfork", "after_a_fork"}) {
      expect_same_as_native(guest, poold->shim(), {kEcho});
    }
  }

  void expect_python() {
    const GuestResult natively = run_python(native(), kEcho);
    EXPECT_EQ(natively.status, 0) << natively.err;
    EXPECT_NE(natively.out.find("then ok"), std::string::npos) << natively.out;
    EXPECT_EQ(run_python(poold->shim(), kEcho), natively);
  }

  // The guest says "refused"; then `meanwhile` happens.
  GuestResult run_in_two_parts(const std::string& guest, const Under& under,
                               const Arguments& arguments, void (*meanwhile)(Poold&)) {
    Process process = start_guest(guest, under, arguments);
    process.wait_for_output("refused");
    meanwhile(*poold);
    process.send_line("on");
    const int status = process.wait();
    return {status, process.out(), process.err()};
  }

  void expect_in_two_parts(const std::string& guest, const Arguments& arguments,
                           void (*meanwhile)(Poold&)) {
    const GuestResult natively = run_in_two_parts(guest, native(), arguments, [](Poold&) {});
    EXPECT_EQ(natively.status, 0) << "natively: " << natively.err;
    EXPECT_EQ(run_in_two_parts(guest, poold->shim(), arguments, meanwhile), natively) << guest;
  }

  PrivateNet net;
  std::unique_ptr<EchoServer> server;
  std::unique_ptr<Poold> poold;
  std::unique_ptr<Holder> holder;
};

GUEST(pool_takes_refusals) {
  for (int i = 0; i < 5; ++i) close(refused_socket());
}

TEST_F(OwnPin, OnDuplicatesAndAfterChildren) {
  start(1000);
  expect_all_ways();
}

TEST_F(OwnPin, OnDuplicatesAndAfterChildrenInANarrowRange) {
  start(kNarrow);
  fill();
  expect_all_ways();
}

TEST_F(OwnPin, AfterPythonsSubprocess) {
  start(1000);
  expect_python();
}

TEST_F(OwnPin, AfterPythonsSubprocessInANarrowRange) {
  start(kNarrow);
  fill();
  expect_python();
}

TEST_F(OwnPin, InAnExecutedChild) {
  start(1000);
  expect_in_two_parts("executed_child", {kEcho, "attached"}, [](Poold&) {});
}

TEST_F(OwnPin, InAnExecutedChildInANarrowRange) {
  start(kNarrow);
  fill();
  expect_in_two_parts("executed_child", {kEcho, "attached"}, [](Poold&) {});
}

TEST_F(OwnPin, InAnExecutedChildWithoutTheDaemon) {
  start(1000);
  expect_in_two_parts("executed_child", {kEcho, "as it is"}, [](Poold& daemon) { daemon.kill(); });
}

TEST_F(OwnPin, InAnExecutedChildWithoutTheDaemonInANarrowRange) {
  start(kNarrow);
  fill();
  expect_in_two_parts("executed_child", {kEcho, "as it is"}, [](Poold& daemon) { daemon.kill(); });
}

TEST_F(OwnPin, WhenTheDaemonIsGoneInANarrowRange) {
  start(kNarrow);
  fill();
  expect_in_two_parts("without_the_daemon", {kEcho}, [](Poold& daemon) { daemon.kill(); });
}

// A daemon that said good-bye: the process knows at once.
TEST_F(OwnPin, WhenTheDaemonHasStoppedInANarrowRange) {
  start(kNarrow);
  fill();
  expect_in_two_parts("without_the_daemon", {kEcho}, [](Poold& daemon) { daemon.stop(); });
}

// A range that the program set itself stays, also on a duplicate: not every pin is the pool's.
GUEST(own_range_on_a_duplicate) {
  const int fd = tcp_socket(AF_INET);
  const std::uint32_t range = 20'005U << 16 | 20'005U;
  CHECK_THAT(setsockopt(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, &range, sizeof range) == 0);
  CHECK_THAT(connect_error(fd, SocketAddress(kNobody)) == ECONNREFUSED);
  const int second = dup(fd);
  CHECK_THAT(connect_error(second, SocketAddress(arguments.at(0))) == 0);
  CHECK_THAT(local_port(second) == 20'005);
  std::uint32_t now = 0;
  socklen_t length = sizeof now;
  CHECK_THAT(getsockopt(second, IPPROTO_IP, IP_LOCAL_PORT_RANGE, &now, &length) == 0);
  CHECK_THAT(now == range);
  close_with_reset(second);
}

TEST_F(OwnPin, TheProgramsOwnRangeStays) {
  start(1000);
  expect_same_as_native("own_range_on_a_duplicate", poold->shim(), {kEcho});
}

// A socket whose attempt is over may be bound, instead of being connected again.
GUEST(bound_after_the_attempt) {
  for (int i = 0; i < kRounds; ++i) {
    const int fd = refused_socket();
    say("bound " + error_name(bind_error(fd, SocketAddress("127.0.0.1:0"))));
    CHECK_THAT(local_port(fd) != 0);
    close(fd);
  }
}

TEST_F(OwnPin, BoundAfterwardsInANarrowRange) {
  start(kNarrow);
  fill();
  expect_same_as_native("bound_after_the_attempt", poold->shim());
}

// An attempt that shutdown() has given up, toward somebody who never answers.
const std::string kSilent = "127.0.0.1:9100";

GUEST(given_up_by_shutdown) {
  const SocketAddress silent(kSilent);
  const int listener = tcp_socket(AF_INET);
  const int on = 1;
  CHECK_THAT(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0);
  CHECK_THAT(bind_error(listener, silent) == 0 && listen(listener, 0) == 0);
  const int filling = connected_socket(silent);
  CHECK_THAT(filling >= 0);
  for (int i = 0; i < kRounds; ++i) {
    const int fd = tcp_socket(AF_INET, SOCK_NONBLOCK);
    CHECK_THAT(connect_error(fd, silent) == EINPROGRESS);
    CHECK_THAT(shutdown(fd, SHUT_RDWR) == 0);
    connect_again(fd, SocketAddress(arguments.at(0)));
    close_with_reset(fd);
  }
  close_with_reset(filling);
}

TEST_F(OwnPin, GivenUpByShutdownInANarrowRange) {
  start(kNarrow);
  fill();
  expect_same_as_native("given_up_by_shutdown", poold->shim(), {kEcho});
  EXPECT_TRUE(poold->eventually_status(
      [](const nlohmann::json& now) { return !lane_of(now, kSilent).is_null(); }));
  const std::uint64_t before = pool_connects(poold->status());
  expect_same_as_native("given_up_by_shutdown", poold->shim(), {kEcho});
  EXPECT_GT(pool_connects(poold->status()), before);
}

// The same when the program sets it only after the connect() that had a pin: the attempt ends, the
// range is still there.
GUEST(own_range_after_the_pin) {
  const int fd = tcp_socket(AF_INET, SOCK_NONBLOCK);
  CHECK_THAT(connect_error(fd, SocketAddress(kNobody)) == EINPROGRESS);
  const std::uint32_t range = 20'009U << 16 | 20'001U;
  CHECK_THAT(setsockopt(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, &range, sizeof range) == 0);
  pollfd entry{fd, POLLOUT, 0};
  CHECK_THAT(poll(&entry, 1, 60'000) == 1);
  CHECK_THAT(connect_error(fd, SocketAddress(kNobody)) == ECONNREFUSED);
  std::uint32_t now = 0;
  socklen_t length = sizeof now;
  CHECK_THAT(getsockopt(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, &now, &length) == 0);
  say(std::to_string(now));
  CHECK_THAT(now == range);
  close(fd);
}

TEST_F(OwnPin, ARangeThatTheProgramSetsLaterStays) {
  start(1000);
  poold->make_lanes({kEcho});
  for (int i = 0; i < 3; ++i) {
    expect_same_as_native("own_range_after_the_pin", poold->shim());
  }
}

}  // namespace
}  // namespace portpool::test
