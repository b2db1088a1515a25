// The daemon's ports are those of its network namespace; elsewhere they would mean nothing.
#include <fcntl.h>
#include <sched.h>

#include <cerrno>

#include "base/descriptor.h"
#include "system/integration/common.h"

namespace portpool::test {
namespace {

// Opens the namespace that it is in; going back needs it.
class NamespaceHandle {
 public:
  NamespaceHandle() : fd_(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)) {}
  bool enter() const { return setns(fd_.get(), CLONE_NEWNET) == 0; }

 private:
  Descriptor fd_;
};

TEST_F(PooledNet, ProgramInAnotherNamespace) {
  const NamespaceHandle home;
  const nlohmann::json before = poold.status();
  {
    PrivateNet elsewhere;
    elsewhere.set_port_range(kLowPort, kHighPort);
    const EchoServer other_server({9001});
    EXPECT_EQ(run_guest("echo_often", shim_at(poold.socket()), {kEcho, "20"}), GuestResult{});
    const GuestResult verbose =
        run_guest("echo_often", shim_at(poold.socket(), {"PORTPOOL_VERBOSE=1"}), {kEcho, "1"});
    EXPECT_NE(verbose.err.find(sentence_of(FallbackReason::k_other_netns)), std::string::npos)
        << verbose.err;
  }
  ASSERT_TRUE(home.enter());
  EXPECT_EQ(pool_connects(poold.status()), pool_connects(before));
}

// Sockets belong to the namespace in which they were made, wherever the process goes.
GUEST(moves_elsewhere) {
  const SocketAddress destination(arguments.at(0));
  const auto echo_on = [&](int fd) {
    CHECK_THAT(connect_error(fd, destination) == 0);
    CHECK_THAT(echo_round_trip(fd));
    CHECK_THAT(close(fd) == 0);
  };
  const NamespaceHandle home;
  for (int i = 0; i < 5; ++i) echo_on(tcp_socket(AF_INET));
  const int made_at_home = tcp_socket(AF_INET);
  PrivateNet elsewhere;
  const EchoServer server({9001});
  for (int i = 0; i < 7; ++i) echo_on(tcp_socket(AF_INET));
  echo_on(made_at_home);
  const int made_elsewhere = tcp_socket(AF_INET);
  CHECK_THAT(home.enter());
  for (int i = 0; i < 5; ++i) echo_on(tcp_socket(AF_INET));
  echo_on(made_elsewhere);
}

TEST_F(PooledNet, ProgramThatMovesToAnotherNamespace) {
  const nlohmann::json before = poold.status();
  expect_same_as_native("moves_elsewhere", poold.shim(), {kEcho});
  const nlohmann::json after = poold.status();
  EXPECT_EQ(fallbacks(after, "other_netns") - fallbacks(before, "other_netns"), 8U);
  EXPECT_EQ(pool_connects(after) - pool_connects(before), 11U);
}

}  // namespace
}  // namespace portpool::test
