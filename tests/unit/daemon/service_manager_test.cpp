#include "daemon/service_manager.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <string>
#include <thread>

#include "base/descriptor_passing.h"

namespace portpool {
namespace {

constexpr const char* kVariables[] = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID",
                                      "LISTEN_FDS",    "LISTEN_PID",    "LISTEN_FDNAMES"};

// The other end: a socket with an abstract name.
class Manager {
 public:
  explicit Manager(const std::string& name)
      : name_("@" + name + std::to_string(getpid())),
        socket_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    name_.copy(address.sun_path, name_.size());
    address.sun_path[0] = '\0';
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name_.size());
    EXPECT_EQ(bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), length), 0);
    for (const char* variable : kVariables) unsetenv(variable);
    setenv("NOTIFY_SOCKET", name_.c_str(), 1);
  }

  // The next message, empty when there is none.
  std::string message(std::vector<Descriptor>* descriptors = nullptr) {
    std::array<char, 4096> buffer{};
    Received got =
        receive_with_descriptors(socket_.get(), std::as_writable_bytes(std::span(buffer)));
    if (descriptors != nullptr) *descriptors = std::move(got.descriptors);
    return {buffer.data(), got.bytes};
  }

 private:
  std::string name_;
  Descriptor socket_;
};

TEST(ServiceManager, SaysNothingWithoutOne) {
  for (const char* variable : kVariables) unsetenv(variable);
  setenv("WATCHDOG_USEC", "1000000", 1);
  ServiceManager manager = ServiceManager::from_environment();
  EXPECT_FALSE(manager.is_there());
  EXPECT_FALSE(manager.watchdog_interval());
  EXPECT_TRUE(manager.rest().empty());
  manager.ready("serving");
  EXPECT_FALSE(manager.store("name", {}));
}

TEST(ServiceManager, IsTold) {
  Manager other("told");
  ServiceManager manager = ServiceManager::from_environment();
  ASSERT_TRUE(manager.is_there());
  manager.ready("two\nlines");
  EXPECT_EQ(other.message(), "READY=1\nMAINPID=" + std::to_string(getpid()) + "\nSTATUS=two lines");
  manager.reloading();
  const std::string reloading = other.message();
  EXPECT_TRUE(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC=")) << reloading;
  manager.watchdog();
  EXPECT_EQ(other.message(), "WATCHDOG=1");
  manager.stopping("ends");
  EXPECT_EQ(other.message(), "STOPPING=1\nSTATUS=ends");
  EXPECT_EQ(other.message(), "");
}

TEST(ServiceManager, NothingIsLeftForChildren) {
  const Manager other("children");
  setenv("WATCHDOG_USEC", "3000000", 1);
  setenv("LISTEN_FDS", "1", 1);
  setenv("LISTEN_PID", "1", 1);
  setenv("LISTEN_FDNAMES", "a", 1);
  const ServiceManager manager = ServiceManager::from_environment();
  for (const char* variable : kVariables) EXPECT_EQ(getenv(variable), nullptr) << variable;
  EXPECT_EQ(manager.watchdog_interval(), std::chrono::microseconds(1'500'000));
  EXPECT_TRUE(manager.rest().empty());  // they were another process's
}

TEST(ServiceManager, WatchdogOfAnotherProcess) {
  const Manager other("watchdog");
  setenv("WATCHDOG_USEC", "3000000", 1);
  setenv("WATCHDOG_PID", "1", 1);
  EXPECT_FALSE(ServiceManager::from_environment().watchdog_interval());
  setenv("NOTIFY_SOCKET", "@none", 1);
  for (const char* bad : {"", "0", "-5", "many", "5 ", "99999999999999999999"}) {
    setenv("WATCHDOG_USEC", bad, 1);
    EXPECT_FALSE(ServiceManager::from_environment().watchdog_interval()) << bad;
  }
}

TEST(ServiceManager, OneThatDoesNotReadIsNotWaitedFor) {
  Manager other("deaf");
  ServiceManager manager = ServiceManager::from_environment();
  // More than any queue holds (net.unix.max_dgram_qlen).
  int told = 0;
  while (told < 100'000 && manager.store("x", {})) ++told;
  EXPECT_LT(told, 100'000);
  EXPECT_NE(other.message(), "");
  EXPECT_TRUE(manager.store("x", {}));
  EXPECT_FALSE(manager.await_read(std::chrono::milliseconds(1)));
}

TEST(ServiceManager, DescriptorsAreStored) {
  Manager other("store");
  ServiceManager manager = ServiceManager::from_environment();
  const Descriptor file(memfd_create("stored", MFD_CLOEXEC));
  ASSERT_EQ(write(file.get(), "content", 7), 7);
  const int fds[] = {file.get(), file.get()};
  EXPECT_TRUE(manager.store("portpool-structure", fds));
  std::vector<Descriptor> got;
  EXPECT_EQ(other.message(&got), "FDSTORE=1\nFDNAME=portpool-structure\nFDPOLL=0");
  ASSERT_EQ(got.size(), 2U);
  char content[7];
  EXPECT_EQ(pread(got[1].get(), content, sizeof content, 0), 7);
  EXPECT_EQ(std::string(content, 7), "content");
  EXPECT_TRUE(manager.forget("portpool-structure"));
  EXPECT_EQ(other.message(), "FDSTOREREMOVE=1\nFDNAME=portpool-structure");
}

TEST(ServiceManager, HavingReadEverythingIsAwaited) {
  Manager other("barrier");
  ServiceManager manager = ServiceManager::from_environment();
  EXPECT_TRUE(manager.store("x", {}));
  std::thread reader([&other] {
    // The descriptor that came with it is closed at once.
    while (other.message() != "BARRIER=1") std::this_thread::yield();
  });
  EXPECT_TRUE(manager.await_read(std::chrono::minutes(1)));
  reader.join();
}

// In a child, for the numbers 3, 4, ... are fixed.
int takes_activated() {
  const auto listener = [](int domain, int type) {
    const int fd = socket(domain, type, 0);
    sockaddr_un name{};
    name.sun_family = static_cast<sa_family_t>(domain);
    bind(fd, reinterpret_cast<const sockaddr*>(&name), sizeof(sa_family_t));
    listen(fd, 1);
    return fd;
  };
  const int sources[] = {memfd_create("a", 0), socket(AF_UNIX, SOCK_STREAM, 0),
                         listener(AF_UNIX, SOCK_STREAM), memfd_create("b", 0)};
  int fd = 3;
  for (const int source : sources) dup2(fcntl(source, F_DUPFD, 50), fd++);
  close(7);
  for (const char* variable : kVariables) unsetenv(variable);
  setenv("LISTEN_PID", std::to_string(getpid()).c_str(), 1);
  setenv("LISTEN_FDS", "9", 1);
  setenv("LISTEN_FDNAMES", "kept:unconnected:poold.socket:kept:none", 1);
  ServiceManager manager = ServiceManager::from_environment();
  if (manager.rest().size() != 4) return 1;
  if ((fcntl(4, F_GETFD) & FD_CLOEXEC) == 0) return 2;
  const auto socket = manager.take_listener();
  if (!socket || socket->descriptor.get() != 5 || socket->name != "poold.socket") return 3;
  if (manager.take_listener()) return 4;
  const auto kept = manager.take("kept");
  if (kept.size() != 2 || kept[0].descriptor.get() != 3 || kept[1].descriptor.get() != 6) return 5;
  if (manager.rest().size() != 1 || manager.rest()[0].name != "unconnected") return 6;
  manager.close_rest();
  return fcntl(4, F_GETFD) == -1 ? 0 : 7;
}

TEST(ServiceManager, DescriptorsAreTakenOver) {
  EXPECT_EXIT(_exit(takes_activated()), testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace portpool
