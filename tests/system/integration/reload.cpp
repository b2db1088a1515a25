// SIGHUP: whatever has become of the configuration, and whenever it comes, the daemon goes on.
#include <fcntl.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "system/integration/common.h"

namespace portpool::test {
namespace {

namespace fs = std::filesystem;

class Reload : public EchoNet {
 protected:
  bool mode_is(const char* mode) {
    return poold.eventually_status(
        [&](const nlohmann::json& now) { return now.at("daemon").at("mode") == mode; });
  }
  bool says(const std::string& text) {
    return eventually([&] { return poold.process().err().find(text) != std::string::npos; });
  }
  // Replaces the configuration by something that is none; the daemon says what, and serves on.
  void expect_survives(const std::function<void(const std::string& path)>& make,
                       const std::string& words) {
    fs::remove_all(poold.config_path());
    make(poold.config_path());
    poold.process().signal(SIGHUP);
    EXPECT_TRUE(says(words)) << poold.process().err();
    EXPECT_TRUE(says("the old configuration stays in force")) << poold.process().err();
    EXPECT_EQ(poold.status().at("daemon").at("mode"), "observe");
  }

  Poold poold{"mode = \"observe\"\n"};
};

TEST_F(Reload, SymlinkLoop) {
  expect_survives([](const std::string& path) { fs::create_symlink(path, path); },
                  "Too many levels of symbolic links");
  fs::remove(poold.config_path());
  std::ofstream(poold.config_path()) << "mode = \"pool\"\n";
  poold.process().signal(SIGHUP);
  EXPECT_TRUE(mode_is("pool")) << poold.process().err();
}

TEST_F(Reload, WhatIsNoRegularFile) {
  expect_survives([](const std::string& path) { ASSERT_EQ(mkfifo(path.c_str(), 0600), 0); },
                  "FIFO");
  expect_survives([](const std::string& path) { fs::create_directory(path); }, "a directory");
  expect_survives([](const std::string& path) { fs::create_symlink("/dev/zero", path); },
                  "a device");
  expect_survives(
      [](const std::string& path) {
        std::ofstream(path) << "mode = \"pool\"\n";
        fs::resize_file(path, 2U << 20);
      },
      "more than 1024 KiB");
  EXPECT_EQ(poold.stop(), 0) << poold.process().err();
}

TEST_F(EchoNet, StartIsRefusedWithoutARegularFile) {
  const TempDir directory;
  const std::string fifo = directory.file("fifo");
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  const std::string loop = directory.file("loop");
  fs::create_symlink(loop, loop);
  for (const std::string& config : {fifo, loop, directory.path(), std::string("/dev/zero")}) {
    Process poold({poold_path(), "serve", "--socket", directory.file("s"), "--config", config});
    EXPECT_EQ(poold.wait(), 2) << config;
    EXPECT_NE(poold.err().find("cannot read the configuration " + config), std::string::npos)
        << poold.err();
  }
}

// Stops the process `pid`, which traces itself, where it enters the system call `wanted`.
bool run_until_syscall(pid_t pid, long wanted) {
  int status = 0;
  if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status)) return false;
  ptrace(PTRACE_SETOPTIONS, pid, nullptr, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
  for (;;) {
    if (ptrace(PTRACE_SYSCALL, pid, nullptr, nullptr) != 0) return false;
    if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status)) return false;
    __ptrace_syscall_info call{};
    if (WSTOPSIG(status) == (SIGTRAP | 0x80) &&
        ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof call, &call) > 0 &&
        call.op == PTRACE_SYSCALL_INFO_ENTRY && static_cast<long>(call.entry.nr) == wanted) {
      return true;
    }
  }
}

// Before there is an event loop to serve it.
TEST_F(EchoNet, SighupThatComesEarlyIsServedLater) {
  const TempDir directory;
  const std::string socket = directory.file("s");
  const std::string log = directory.file("log");
  const pid_t pid = fork();
  ASSERT_GE(pid, 0);
  if (pid == 0) {
    const int fd = creat(log.c_str(), 0600);
    dup2(fd, STDERR_FILENO);
    ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    execl(poold_path().c_str(), "poold", "serve", "--socket", socket.c_str(), nullptr);
    _exit(127);
  }
  ASSERT_TRUE(run_until_syscall(pid, SYS_epoll_create1));
  kill(pid, SIGHUP);
  ptrace(PTRACE_DETACH, pid, nullptr, nullptr);
  int status = 0;
  const bool reloaded = eventually([&] {
    return waitpid(pid, &status, WNOHANG) != 0 ||
           read_whole_file(log).find("configuration reloaded") != std::string::npos;
  });
  kill(pid, SIGTERM);
  if (status == 0) waitpid(pid, &status, 0);
  EXPECT_TRUE(reloaded);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status << read_whole_file(log);
}

}  // namespace
}  // namespace portpool::test
