// Sockets that are duplicated, inherited, passed on or left behind keep working.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "system/integration/common.h"

namespace portpool::test {
namespace {

constexpr int kRounds = 30;

GUEST(duplicated) {
  const SocketAddress destination(arguments.at(0));
  for (int i = 0; i < kRounds; ++i) {
    const int fd = connected_socket(destination);
    CHECK_THAT(fd >= 0);
    const int second = i % 2 == 0 ? dup(fd) : fcntl(fd, F_DUPFD_CLOEXEC, 50);
    CHECK_THAT(second >= 0);
    CHECK_THAT(close(fd) == 0);
    // The port is still in use: others must not be told otherwise for long, and must not suffer.
    const int other = connected_socket(destination);
    CHECK_THAT(other >= 0);
    CHECK_THAT(echo_round_trip(second));
    CHECK_THAT(echo_round_trip(other));
    CHECK_THAT(close(second) == 0 && close(other) == 0);
  }
}

GUEST(replaced) {
  const SocketAddress destination(arguments.at(0));
  for (int i = 0; i < kRounds; ++i) {
    const int first = connected_socket(destination);
    const int second = connected_socket(destination);
    CHECK_THAT(first >= 0 && second >= 0);
    const auto port = local_port(second);
    CHECK_THAT(dup2(second, first) == first);  // closes what was there
    CHECK_THAT(local_port(first) == port);
    CHECK_THAT(close(second) == 0);
    CHECK_THAT(echo_round_trip(first));
    CHECK_THAT(dup2(first, first) == first);  // does nothing
    CHECK_THAT(echo_round_trip(first));
    const int fresh = tcp_socket(AF_INET);
    CHECK_THAT(dup3(fresh, first, O_CLOEXEC) == first);
    CHECK_THAT(connect_error(first, destination) == 0);
    CHECK_THAT(echo_round_trip(fresh));
    CHECK_THAT(close_range(static_cast<unsigned>(first), static_cast<unsigned>(first), 0) == 0);
    CHECK_THAT(echo_round_trip(fresh));
    CHECK_THAT(close(fresh) == 0);
  }
}

void echo_and_close(const SocketAddress& destination, int count) {
  for (int i = 0; i < count; ++i) {
    const int fd = connected_socket(destination);
    CHECK_THAT(fd >= 0);
    CHECK_THAT(echo_round_trip(fd));
    CHECK_THAT(close(fd) == 0);
  }
}

// Parent and children connect at the same time, and share sockets made before the fork.
GUEST(forked) {
  const SocketAddress destination(arguments.at(0));
  const int inherited = connected_socket(destination);
  const int unused = tcp_socket(AF_INET);
  CHECK_THAT(inherited >= 0 && unused >= 0);
  for (int child = 0; child < 4; ++child) {
    const pid_t pid = fork();
    CHECK_THAT(pid >= 0);
    if (pid > 0) continue;
    echo_and_close(destination, kRounds);
    if (child == 0) {
      CHECK_THAT(echo_round_trip(inherited));
      CHECK_THAT(connect_error(unused, destination) == 0);
    }
    CHECK_THAT(close(inherited) == 0 && close(unused) == 0);
    _exit(0);
  }
  echo_and_close(destination, kRounds);
  for (int child = 0; child < 4; ++child) {
    int status = -1;
    CHECK_THAT(wait(&status) > 0 && status == 0);
  }
  CHECK_THAT(echo_round_trip(inherited));
  CHECK_THAT(echo_round_trip(unused));
  CHECK_THAT(connect_error(unused, destination) == EISCONN);
}

// A socket made here and connected by another process; one connected here and used there.
GUEST(passed_on) {
  const SocketAddress destination(arguments.at(0));
  int channel[2];
  CHECK_THAT(socketpair(AF_UNIX, SOCK_STREAM, 0, channel) == 0);
  const pid_t pid = fork();
  CHECK_THAT(pid >= 0);
  if (pid == 0) {
    for (int i = 0; i < kRounds; ++i) {
      const int fresh = take_descriptor(channel[1]);
      CHECK_THAT(connect_error(fresh, destination) == 0);
      const int connected = take_descriptor(channel[1]);
      CHECK_THAT(echo_round_trip(connected) && echo_round_trip(fresh));
      CHECK_THAT(close(fresh) == 0 && close(connected) == 0);
    }
    _exit(0);
  }
  for (int i = 0; i < kRounds; ++i) {
    const int fresh = tcp_socket(AF_INET);
    CHECK_THAT(pass_descriptor(channel[0], fresh));
    CHECK_THAT(close(fresh) == 0);
    const int connected = connected_socket(destination);
    CHECK_THAT(connected >= 0);
    CHECK_THAT(pass_descriptor(channel[0], connected));
    CHECK_THAT(close(connected) == 0);
  }
  int status = -1;
  CHECK_THAT(waitpid(pid, &status, 0) == pid && status == 0);
}

GUEST(after_exec) {
  const SocketAddress destination(arguments.at(0));
  const int connected = std::stoi(arguments.at(1));
  const int fresh = std::stoi(arguments.at(2));
  CHECK_THAT(echo_round_trip(connected));
  CHECK_THAT(connect_error(fresh, destination) == 0);
  CHECK_THAT(echo_round_trip(fresh));
  echo_and_close(destination, kRounds);
  CHECK_THAT(close(connected) == 0 && close(fresh) == 0);
  say("reached");
}

GUEST(executes) {
  const SocketAddress destination(arguments.at(0));
  const int connected = connected_socket(destination);
  const int fresh = tcp_socket(AF_INET);
  CHECK_THAT(connected >= 0 && fresh >= 0);
  CHECK_THAT(fcntl(connected, F_SETFD, 0) == 0 && fcntl(fresh, F_SETFD, 0) == 0);
  become_guest("after_exec", {arguments.at(0), std::to_string(connected), std::to_string(fresh)});
}

class Descriptors : public PooledNet {
 protected:
  // Afterwards nothing is left of it in the lane but TIME_WAIT.
  void run(const std::string& guest) {
    expect_same_as_native(guest, poold.shim(), {kEcho});
    EXPECT_TRUE(poold.eventually_status([](const nlohmann::json& now) {
      return lane_of(now, kEcho).at("in_use") == 0;
    })) << poold.status();
    EXPECT_GT(pool_connects(poold.status()), 0U);
  }
};

TEST_F(Descriptors, Duplicated) { run("duplicated"); }
TEST_F(Descriptors, Replaced) { run("replaced"); }
TEST_F(Descriptors, Forked) { run("forked"); }
TEST_F(Descriptors, PassedOn) { run("passed_on"); }
TEST_F(Descriptors, AcrossExec) { run("executes"); }

GUEST(hold_and_wait) {
  const SocketAddress destination(arguments.at(0));
  for (int i = 0; i < std::stoi(arguments.at(1)); ++i)
    CHECK_THAT(connected_socket(destination) >= 0);
  say("held");
  await_line();
}

// kill -9 runs no close(): the daemon finds out from the kernel.
TEST_F(Descriptors, PortsOfAKilledProcessComeBack) {
  Process guest = start_guest("hold_and_wait", poold.shim(), {kEcho, "200"});
  guest.wait_for_output("held");
  EXPECT_TRUE(poold.eventually_status([](const nlohmann::json& now) {
    return lane_of(now, kEcho).at("in_use") == 200;
  })) << poold.status();
  guest.signal(SIGKILL);
  guest.wait();
  EXPECT_TRUE(poold.eventually_status([](const nlohmann::json& now) {
    return lane_of(now, kEcho).at("in_use") == 0;
  })) << poold.status();
}

}  // namespace
}  // namespace portpool::test
