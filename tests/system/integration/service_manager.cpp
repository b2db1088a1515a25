// poold under a service manager: what it says, and a socket that was there before it.
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/descriptor.h"
#include "system/integration/common.h"

namespace portpool::test {
namespace {

namespace fs = std::filesystem;

Descriptor bound(const std::string& path, int type) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  path.copy(name.sun_path, sizeof name.sun_path - 1);
  Descriptor socket(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  EXPECT_EQ(bind(socket.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name), 0);
  return socket;
}

class ServiceManagerTest : public EchoNet {
 protected:
  // Waits for a message with `text`; gives it, or an empty one.
  std::string message(const std::string& text) {
    std::string found;
    eventually([&] {
      char part[4096];
      const ssize_t got = recv(notify.get(), part, sizeof part, MSG_DONTWAIT);
      if (got <= 0) return false;
      const std::string one(part, static_cast<std::size_t>(got));
      if (one.find(text) != std::string::npos) found = one;
      return !found.empty();
    });
    return found;
  }

  TempDir directory;
  std::string notify_path = directory.file("notify");
  Descriptor notify = bound(notify_path, SOCK_DGRAM);
  std::string socket = directory.file("s");
  std::string config = directory.write("poold.toml", "");
};

TEST_F(ServiceManagerTest, IsToldWhatHappens) {
  Process poold({poold_path(), "serve", "--socket", socket, "--config", config},
                {"NOTIFY_SOCKET=" + notify_path, "WATCHDOG_USEC=200000"});
  const std::string ready = message("READY=1");
  EXPECT_NE(ready.find("\nMAINPID=" + std::to_string(poold.pid()) + "\n"), std::string::npos)
      << ready;
  EXPECT_NE(ready.find("\nSTATUS=serving on " + socket), std::string::npos) << ready;
  EXPECT_TRUE(fs::exists(socket));
  EXPECT_EQ(message("WATCHDOG"), "WATCHDOG=1");
  poold.signal(SIGHUP);
  EXPECT_NE(message("RELOADING=1").find("\nMONOTONIC_USEC="), std::string::npos);
  EXPECT_NE(message("READY=1").find("STATUS=serving on"), std::string::npos);
  std::ofstream(config) << "nonsense\n";
  poold.signal(SIGHUP);
  EXPECT_NE(message("RELOADING=1"), "");
  EXPECT_NE(message("READY=1").find("STATUS=serving with the old configuration"),
            std::string::npos);
  poold.signal(SIGTERM);
  EXPECT_NE(message("STOPPING=1"), "");
  EXPECT_EQ(poold.wait(), 0) << poold.err();
}

TEST_F(ServiceManagerTest, ThatIsGoneIsNoReasonToFail) {
  notify = Descriptor();
  Process poold({poold_path(), "serve", "--socket", socket},
                {"NOTIFY_SOCKET=" + notify_path, "WATCHDOG_USEC=20000"});
  EXPECT_TRUE(eventually([&] {
    return poold.err().find("cannot tell the service manager at NOTIFY_SOCKET=") !=
           std::string::npos;
  })) << poold.err();
  EXPECT_EQ(Process({poold_path(), "status", "--socket", socket}).wait(), 0);
  poold.signal(SIGTERM);
  EXPECT_EQ(poold.wait(), 0) << poold.err();
}

// The socket is the service manager's: it is there before poold, and after it.
TEST_F(ServiceManagerTest, SocketIsTakenOver) {
  const Descriptor listener = bound(socket, SOCK_STREAM);
  ASSERT_EQ(listen(listener.get(), 10), 0);
  // The numbers 3 and 4 are free in the shell only.
  const std::string inherited = std::to_string(fcntl(listener.get(), F_DUPFD, 20));
  for (int round = 0; round < 2; ++round) {
    Process poold({"bash", "-c",
                   "exec 3</dev/null 4<&" + inherited +
                       "; export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=odd:poold.socket; "
                       "exec \"$@\"",
                   "bash", poold_path(), "serve", "--config", config});
    EXPECT_TRUE(eventually([&] {
      return poold.err().find("serving on " + socket + ", a socket of the service manager's") !=
             std::string::npos;
    })) << poold.err();
    EXPECT_NE(poold.err().find("descriptor \"odd\" is of no use here"), std::string::npos);
    EXPECT_TRUE(eventually([&] {
      return Process({poold_path(), "status", "--socket", socket}).wait() == 0;
    })) << poold.err();
    const GuestResult connected =
        run_guest("echo_often", shim_at(socket, {kBeginAttached}), {kEcho, "5"});
    EXPECT_EQ(connected, GuestResult{});
    poold.signal(SIGHUP);
    EXPECT_TRUE(eventually([&] {
      return poold.err().find("configuration reloaded") != std::string::npos;
    })) << poold.err();
    EXPECT_EQ(poold.err().find("take effect at the next start"), std::string::npos) << poold.err();
    poold.signal(SIGTERM);
    EXPECT_EQ(poold.wait(), 0) << poold.err();
    EXPECT_TRUE(fs::is_socket(socket));
  }
}

}  // namespace
}  // namespace portpool::test
