// Without a daemon, or with a nonsensical environment, programs run as natively.
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>

#include "support/temp_dir.h"
#include "system/integration/common.h"

namespace portpool::test {
namespace {

class NoDaemon : public EchoNet {
 protected:
  // Everything works, and PORTPOOL_VERBOSE=1 gives `reason`.
  void expect_native(const std::vector<std::string>& environment, FallbackReason reason) {
    Under under{true, environment};
    EXPECT_EQ(run_guest("echo_often", under, {kEcho, "20"}), GuestResult{});
    under.environment.push_back("PORTPOOL_VERBOSE=1");
    const GuestResult verbose = run_guest("echo_often", under, {kEcho, "20"});
    EXPECT_EQ(verbose.status, 0);
    EXPECT_NE(verbose.err.find(sentence_of(reason)), std::string::npos) << verbose.err;
  }

  TempDir directory;
};

TEST_F(NoDaemon, NoSuchSocket) {
  expect_native({"PORTPOOL_SOCKET=" + directory.file("none")}, FallbackReason::k_no_daemon);
  expect_native({"PORTPOOL_SOCKET=/no/such/directory/socket"}, FallbackReason::k_no_daemon);
}

TEST_F(NoDaemon, SocketPathTooLong) {
  const std::size_t room = sizeof(sockaddr_un::sun_path);
  for (const std::size_t length : {room - 1, room, room + 1, std::size_t{5000}}) {
    expect_native({"PORTPOOL_SOCKET=/" + std::string(length - 1, 'x')},
                  FallbackReason::k_no_daemon);
  }
}

TEST_F(NoDaemon, NotASocket) {
  expect_native({"PORTPOOL_SOCKET=" + directory.write("file", "text")},
                FallbackReason::k_no_daemon);
  expect_native({"PORTPOOL_SOCKET=" + directory.path()}, FallbackReason::k_no_daemon);
}

TEST_F(NoDaemon, SocketThatADeadDaemonLeftBehind) {
  const std::string path = directory.file("stale");
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  path.copy(name.sun_path, sizeof name.sun_path - 1);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(bind(fd, reinterpret_cast<const sockaddr*>(&name), sizeof name), 0);
  take_touch_back(path);  // as poold did
  expect_native({"PORTPOOL_SOCKET=" + path}, FallbackReason::k_no_daemon);
}

TEST_F(NoDaemon, NonsenseMode) {
  const Poold poold;
  poold.make_lanes({kEcho});
  const nlohmann::json before = poold.status();
  const std::string longer(5000, 'x');
  for (const std::string& mode : {std::string("nonsense"), std::string("POOL"), longer}) {
    const Under under = shim_at(poold.socket(), {"PORTPOOL_MODE=" + mode, "PORTPOOL_VERBOSE=1"});
    const GuestResult result = run_guest("echo_often", under, {kEcho, "5"});
    EXPECT_EQ(result.status, 0);
    EXPECT_NE(result.err.find("PORTPOOL_MODE"), std::string::npos) << result.err;
    EXPECT_EQ(
        run_guest("echo_often", shim_at(poold.socket(), {"PORTPOOL_MODE=" + mode}), {kEcho, "5"}),
        GuestResult{});
  }
  EXPECT_EQ(poold.status().at("connects"), before.at("connects"));
  // Empty means not given.
  EXPECT_EQ(run_guest("echo_often", poold.shim({"PORTPOOL_MODE="}), {kEcho, "5"}), GuestResult{});
  EXPECT_EQ(pool_connects(poold.status()) - pool_connects(before), 5U);
}

}  // namespace
}  // namespace portpool::test
