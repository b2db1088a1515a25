// Bind strategy, a crowded range: ports are shared with other destinations, and some of them are
// used toward the same destination by a socket that the lane does not know of (yet).
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <iterator>
#include <vector>

#include "portpool/system_call.h"
#include "support/sockets.h"
#include "system/lanes/lane_net.h"

namespace portpool::test {
namespace {

constexpr int kPorts = 32;
// Used toward the destination without the lane's knowledge; fewer than the pool binds itself in a
// range that is not its own.
constexpr int kHidden = 12;

std::vector<int> connected_sockets(const SocketAddress& destination, int count) {
  std::vector<int> sockets;
  for (int i = 0; i < count; ++i) {
    sockets.push_back(connected_socket(destination));
    CHECK_THAT(sockets.back() >= 0);
  }
  return sockets;
}

void reset(const std::vector<int>& sockets) {
  for (const int fd : sockets) close_with_reset(fd);
}

// Connects as often as there are ports left, and once more; says how each call ended. Whoever was
// refused has no port either.
void use_the_rest(const SocketAddress& destination) {
  std::string outcome;
  std::vector<int> sockets;
  for (int i = 0; i <= kPorts - kHidden; ++i) {
    sockets.push_back(tcp_socket(AF_INET));
    const int error = connect_error(sockets.back(), destination);
    outcome += error_name(error) + " ";
    if (error != 0 && local_port(sockets.back()) != 0) outcome += "(bound) ";
  }
  say(outcome);
  // No descriptor but these was left open.
  CHECK_THAT(sockets.back() - sockets.front() == kPorts - kHidden);
  reset(sockets);
}

// A child holds connections that its parent closes; the parent's library gives their ports back.
GUEST(child_holds) {
  const SocketAddress destination(arguments.at(0));
  const std::vector<int> others = connected_sockets(SocketAddress(arguments.at(1)), kPorts);
  const std::vector<int> kept = connected_sockets(destination, kHidden);
  const pid_t child = fork();
  CHECK_THAT(child >= 0);
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) pause();
  }
  const std::vector<int> closed = connected_sockets(destination, kPorts - kHidden);
  reset(kept);
  reset(closed);
  use_the_rest(destination);
  reset(others);
  kill(child, SIGKILL);
  CHECK_THAT(waitpid(child, nullptr, 0) == child);
}

// Sockets that no library sees share ports that are bound already.
GUEST(stranger_shares) {
  const SocketAddress destination(arguments.at(0));
  const std::vector<int> others = connected_sockets(SocketAddress(arguments.at(1)), kPorts);
  std::vector<int> strangers;
  for (int i = 0; i < kHidden; ++i) {
    const int fd = static_cast<int>(syscall(SYS_socket, AF_INET, SOCK_STREAM, 0));
    strangers.push_back(fd);
    const int on = 1;
    CHECK_THAT(syscall(SYS_setsockopt, fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0);
    const SocketAddress local = local_address(others[static_cast<std::size_t>(i)]);
    CHECK_THAT(syscall(SYS_bind, fd, local.raw(), local.length) == 0);
    CHECK_THAT(syscall(SYS_connect, fd, destination.raw(), destination.length) == 0);
  }
  use_the_rest(destination);
  reset(strangers);
  reset(others);
}

// From now on nobody here gets a netlink socket, as under systemd's RestrictAddressFamilies.
void forbid_netlink() {
  sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[0])),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_NETLINK, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAFNOSUPPORT),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  sock_fprog program{std::size(filter), filter};
  CHECK_THAT(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  // Past the library, which otherwise leaves everything to the kernel from then on.
  CHECK_THAT(system_call(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0);
  CHECK_THAT(socket(AF_NETLINK, SOCK_RAW, 0) < 0 && errno == EAFNOSUPPORT);
}

GUEST(cannot_ask) {
  forbid_netlink();
  const std::vector<int> others = connected_sockets(SocketAddress(arguments.at(1)), kPorts);
  const std::vector<int> sockets = connected_sockets(SocketAddress(arguments.at(0)), kPorts);
  CHECK_THAT(sockets.back() - sockets.front() == kPorts - 1);
  reset(sockets);
  reset(others);
}

class SharedPorts : public LaneNet {
 protected:
  std::string strategy() const override { return "bind"; }

  static std::string all_but_hidden() {
    std::string outcome;
    for (int i = kHidden; i < kPorts; ++i) outcome += "ok ";
    return outcome + "EADDRNOTAVAIL \n";
  }

  const std::string rest = all_but_hidden();
};

TEST_F(SharedPorts, AChildStillHoldsThem) {
  start(kPorts);
  make_lane(kEcho);
  make_lane(kOtherEcho);
  const Arguments arguments{kEcho, kOtherEcho};
  EXPECT_EQ(run_guest("child_holds", native(), arguments), (GuestResult{0, rest, ""}));
  ASSERT_TRUE(lane_comes_true(kEcho) && lane_comes_true(kOtherEcho)) << poold->status();
  EXPECT_EQ(run_guest("child_holds", poold->shim(), arguments), (GuestResult{0, rest, ""}));
}

TEST_F(SharedPorts, AStrangerSharesThem) {
  start(kPorts);
  make_lane(kEcho);
  make_lane(kOtherEcho);
  EXPECT_EQ(run_guest("stranger_shares", poold->shim(), {kEcho, kOtherEcho}),
            (GuestResult{0, rest, ""}));
}

// Where the kernel cannot be asked, what the lane says is believed.
TEST_F(SharedPorts, WithoutNetlink) {
  start(kPorts);
  make_lane(kEcho);
  make_lane(kOtherEcho);
  EXPECT_EQ(run_guest("cannot_ask", poold->shim(), {kEcho, kOtherEcho}), GuestResult{});
}

// Programs of two daemons: what one's lane has given out, the other's still offers. The same for a
// moment after a daemon was killed and started again.
TEST_F(SharedPorts, AnotherDaemonGaveThemOut) {
  start(kPorts);
  make_lane(kEcho);
  make_lane(kOtherEcho);
  const Poold second("strategy = \"bind\"\n");
  second.make_lanes({kEcho, kOtherEcho});
  for (int round = 0; round < 5; ++round) {
    SCOPED_TRACE(round);
    Client client(poold->shim());
    Client other(second.shim());
    ASSERT_EQ(client.hold(kOtherEcho, kPorts), kPorts);
    EXPECT_EQ(client.hold(kEcho, kHidden), kHidden);
    EXPECT_EQ(other.hold(kEcho, kPorts - kHidden), kPorts - kHidden);
    client.reset_all();
    other.reset_all();
    const auto all_free = [](const nlohmann::json& now) {
      return number(lane_from(now, kHost, kEcho), "free") == kPorts &&
             number(lane_from(now, kHost, kOtherEcho), "free") == kPorts;
    };
    ASSERT_TRUE(poold->eventually_status(all_free)) << poold->status();
    ASSERT_TRUE(second.eventually_status(all_free)) << second.status();
  }
}

}  // namespace
}  // namespace portpool::test
