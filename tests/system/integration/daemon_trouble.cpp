// The daemon dies, hangs or is replaced while programs run: they never notice.
#include <signal.h>

#include "support/accounts.h"
#include "system/integration/common.h"

namespace portpool::test {
namespace {

class DaemonTrouble : public PooledNet {
 protected:
  DaemonTrouble() : guest(start_guest("echo_on_demand", poold.shim(), {kEcho})) {}

  // The guest makes `count` connections; each must work.
  void connect(int count = 1) {
    for (int i = 0; i < count; ++i) {
      guest.send_line("");
      expected += "done\n";
      guest.wait_for_output(expected);
    }
    ASSERT_EQ(guest.err(), "");
  }

  // The guest connects every few milliseconds until the running daemon's status satisfies
  // `condition`.
  template <class Condition>
  bool connect_until(Condition condition) {
    return eventually([&] {
      connect();
      return condition(poold.status());
    });
  }

  Process guest;
  std::string expected;
};

bool uses_the_pool(const nlohmann::json& now) { return pool_connects(now) > 0; }

TEST_F(DaemonTrouble, KilledAndStartedAgain) {
  connect(20);
  EXPECT_GE(pool_connects(poold.status()), 20U);
  poold.kill();
  connect(50);  // its heartbeat may still be good for a while: either path will do
  poold.restart();
  EXPECT_TRUE(connect_until(uses_the_pool)) << poold.status();
}

TEST_F(DaemonTrouble, RestartedInGoodOrder) {
  connect(20);
  poold.restart();
  EXPECT_TRUE(connect_until(uses_the_pool)) << poold.status();
  // Again, and again.
  poold.restart();
  EXPECT_TRUE(connect_until(uses_the_pool)) << poold.status();
  poold.kill();
  poold.restart();
  EXPECT_TRUE(connect_until(uses_the_pool)) << poold.status();
}

TEST_F(DaemonTrouble, AbsentAtFirst) {
  poold.kill();
  Process early = start_guest("echo_on_demand", shim_at(poold.socket()), {kEcho});
  early.send_line("");
  early.wait_for_output("done\n");
  poold.restart();
  // What was not counted for want of a segment is added when there is one.
  EXPECT_TRUE(eventually([&] {
    early.send_line("");
    const nlohmann::json now = poold.status();
    return uses_the_pool(now) && fallbacks(now, "no_daemon") > 0;
  })) << poold.status();
  EXPECT_EQ(early.err(), "");
}

TEST_F(DaemonTrouble, StoppedAndContinued) {
  connect(20);
  poold.process().signal(SIGSTOP);
  // For longer than a heartbeat may be absent; the guest never waits for the daemon.
  for (int i = 0; i < 30; ++i) {
    connect();
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  // A program that starts now gets no segment within its 50 ms.
  EXPECT_EQ(run_guest("echo_often", shim_at(poold.socket()), {kEcho, "5"}), GuestResult{});
  poold.process().signal(SIGCONT);
  EXPECT_TRUE(poold.eventually_status([](const nlohmann::json& now) {
    return fallbacks(now, "stale_heartbeat") > 0;
  })) << poold.status();
  const auto so_far = pool_connects(poold.status());
  EXPECT_TRUE(connect_until([&](const nlohmann::json& now) { return pool_connects(now) > so_far; }))
      << poold.status();
}

// Connects from the next port of its own choice, for each line.
GUEST(own_ports_on_demand) {
  for (int port = 20'123;; ++port) {
    await_line();
    const int fd = tcp_socket(AF_INET);
    CHECK_THAT(bind_error(fd, SocketAddress("127.0.0.1:" + std::to_string(port))) == 0);
    CHECK_THAT(connect_error(fd, SocketAddress(arguments.at(0))) == 0);
    close_with_reset(fd);
    say("done");
  }
}

TEST_F(DaemonTrouble, PortsOfItsOwnAreCountedWhileItHangs) {
  Process own = start_guest("own_ports_on_demand", poold.shim(), {kEcho});
  std::string said;
  const auto connect_own = [&] {
    own.send_line("");
    own.wait_for_output(said += "done\n");
  };
  connect_own();  // the guest is attached
  poold.process().signal(SIGSTOP);
  for (int i = 0; i < 30; ++i) {
    connect_own();
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  poold.process().signal(SIGCONT);
  EXPECT_EQ(account_faults(poold.status()), std::vector<std::string>{}) << poold.status();
}

TEST_F(DaemonTrouble, SocketRemovedUnderneath) {
  std::remove(poold.socket().c_str());
  connect(20);  // attached already: nothing changes
  EXPECT_EQ(run_guest("echo_often", shim_at(poold.socket()), {kEcho, "5"}), GuestResult{});
}

}  // namespace
}  // namespace portpool::test
