// The daemon hangs: it listens and does not answer. That costs one wait a second, whoever comes,
// and leaves nothing in children that are forked meanwhile.
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <sstream>
#include <thread>

#include "base/descriptor.h"
#include "portpool/handover.h"
#include "support/temp_dir.h"
#include "system/integration/common.h"

namespace portpool::test {
namespace {

using std::chrono::steady_clock;

constexpr int kPrograms = 30;

GUEST(does_nothing) {}

// However slow the machine is: one in each second that has begun.
long seconds_begun(steady_clock::time_point since) {
  return 1 + std::chrono::duration_cast<std::chrono::seconds>(steady_clock::now() - since).count();
}

// In the place of a daemon that never accepts.
class HangingDaemon : public testing::Test {
 protected:
  HangingDaemon() : listener(listen_at(path)) {
    EXPECT_EQ(fcntl(listener.get(), F_SETFL, O_NONBLOCK), 0);
  }

  // Those who have come since the last call.
  long visitors() const {
    long count = 0;
    while (Descriptor(accept(listener.get(), nullptr, nullptr))) ++count;
    return count;
  }

  PrivateNet net;
  TempDir directory;
  const std::string path = directory.file("socket");
  const Descriptor listener;
};

TEST_F(HangingDaemon, OneOfManyProgramsTriesInASecond) {
  const auto start = steady_clock::now();
  for (int i = 0; i < kPrograms; ++i) {
    EXPECT_EQ(run_guest("does_nothing", shim_at(path)), GuestResult{});
  }
  const long came = visitors();
  EXPECT_GE(came, 1);
  EXPECT_LE(came, seconds_begun(start));
}

TEST_F(HangingDaemon, NobodyTriesWhereSomebodyElseHasWaited) {
  const auto start = steady_clock::now();
  do {
    EXPECT_EQ(run_guest("does_nothing", shim_at(path)), GuestResult{});
  } while (visitors() == 0 && seconds_begun(start) < 60);
  ASSERT_TRUE(was_touched(path));
  const GuestResult next = run_guest("does_nothing", shim_at(path, {"PORTPOOL_VERBOSE=1"}));
  EXPECT_NE(next.err.find(sentence_of(FallbackReason::k_attach_timeout)), std::string::npos)
      << next.err;
  // The daemon has come round: the next one tries again.
  visitors();
  take_touch_back(path);
  EXPECT_EQ(run_guest("does_nothing", shim_at(path)), GuestResult{});
  EXPECT_EQ(visitors(), 1);
}

TEST_F(HangingDaemon, AFullQueueIsTriedOnceInASecond) {
  const Descriptor full(listen_at(directory.file("full"), 0));
  const std::string there = directory.file("full");
  EXPECT_EQ(run_guest("does_nothing", shim_at(there)), GuestResult{});
  take_touch_back(there);
  EXPECT_EQ(run_guest("does_nothing", shim_at(there)), GuestResult{});
  EXPECT_TRUE(was_touched(there));
}

// A mount that cannot be written to: nothing can be left there, and each waits for itself.
TEST_F(HangingDaemon, OnAReadOnlyMount) {
  std::string script = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" || exit 77; ";
  script += "for i in 1 2 3; do env \"$@\" || exit; done";
  std::vector<std::string> command{"unshare", "--mount", "sh", "-c", script, directory.path()};
  for (const std::string& word : preload_environment()) command.push_back(word);
  command.push_back("PORTPOOL_SOCKET=" + path);
  for (const std::string& word : guest_command("does_nothing")) command.push_back(word);
  Process programs(command);
  const int status = programs.wait();
  if (status == 77 || programs.err().find("unshare: ") != std::string::npos) {
    GTEST_SKIP() << programs.err();
  }
  EXPECT_EQ(status, 0) << programs.err();
  EXPECT_EQ(programs.out() + programs.err(), "");
  EXPECT_EQ(visitors(), 3);
  EXPECT_FALSE(was_touched(path));
}

// ---- poold itself -------------------------------------------------------------------------------

// How many wait to be accepted at `path`.
long waiting_at(const std::string& path) {
  Process ss({"ss", "--listening", "--unix", "--no-header"});
  EXPECT_EQ(ss.wait(), 0) << ss.err();
  std::istringstream lines(ss.out());
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string kind, state, name;
    long waiting = 0;
    long room = 0;
    if (words >> kind >> state >> waiting >> room >> name && name == path) return waiting;
  }
  ADD_FAILURE() << path << " is not there: " << ss.out();
  return 0;
}

TEST_F(PooledNet, StoppedDaemonIsTriedOnceInASecond) {
  const auto start = steady_clock::now();
  poold.process().signal(SIGSTOP);
  for (int i = 0; i < kPrograms; ++i) {
    EXPECT_EQ(run_guest("echo_often", shim_at(poold.socket()), {kEcho, "1"}), GuestResult{});
  }
  const long waiting = waiting_at(poold.socket());
  EXPECT_GE(waiting, 1);
  EXPECT_LE(waiting, seconds_begun(start));
  poold.process().signal(SIGCONT);
  const std::uint64_t before = pool_connects(poold.status());
  EXPECT_EQ(run_guest("echo_often", poold.shim(), {kEcho, "5"}), GuestResult{});
  EXPECT_EQ(pool_connects(poold.status()) - before, 5U);
}

// It takes back what is left there, however often.
TEST_F(PooledNet, LivingDaemonIsTriedAgainSoon) {
  const auto touched_now = [&] {
    struct stat info {};
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    return stat(poold.socket().c_str(), &info) != 0 || is_touched(info.st_mtim, now);
  };
  EXPECT_FALSE(touched_now());
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(utimensat(AT_FDCWD, poold.socket().c_str(), nullptr, 0), 0);
    EXPECT_TRUE(eventually([&] { return !touched_now(); }));
  }
}

// ---- forked children ----------------------------------------------------------------------------

int open_descriptors() {
  DIR* directory = opendir("/proc/self/fd");
  CHECK_THAT(directory != nullptr);
  int count = 0;
  while (const dirent* entry = readdir(directory)) count += entry->d_name[0] != '.' ? 1 : 0;
  closedir(directory);
  return count;
}

// A thread connects, and so tries to attach again each second. Whenever the descriptor of that is
// open children are forked, none of which may have it.
GUEST(forks_while_attaching) {
  const SocketAddress destination(arguments.at(0));
  const int rounds = std::stoi(arguments.at(1));
  const int before = open_descriptors();
  const int connecting = tcp_socket(AF_INET, SOCK_NONBLOCK);
  CHECK_THAT(connecting >= 0);
  std::atomic<bool> done{false};
  std::thread connector([&] {
    // One descriptor in all, whatever happens: connected and dissolved again.
    const sockaddr dissolve{AF_UNSPEC, {}};
    while (!done) {
      (void)connect_error(connecting, destination);
      connect(connecting, &dissolve, sizeof dissolve);
    }
  });
  int with_more = 0;
  for (int round = 0; round < rounds; ++round) {
    while (open_descriptors() <= before + 1) {
    }
    for (int i = 0; i < 10; ++i) {
      const pid_t child = fork();
      CHECK_THAT(child >= 0);
      if (child == 0) _exit(open_descriptors() - (before + 1));
      int status = 0;
      CHECK_THAT(waitpid(child, &status, 0) == child && WIFEXITED(status));
      with_more += WEXITSTATUS(status) != 0 ? 1 : 0;
    }
    while (open_descriptors() > before + 1) {
    }
  }
  done = true;
  connector.join();
  say("children with more: " + std::to_string(with_more));
}

class ForkedChildren : public HangingDaemon {
 protected:
  // `command` stands before the guest's own.
  void have_no_descriptor_of_ours(std::vector<std::string> command, const std::string& rounds) {
    command.push_back("env");
    for (const std::string& word : preload_environment()) command.push_back(word);
    for (const std::string& word : guest_command("forks_while_attaching", {kEcho, rounds})) {
      command.push_back(word);
    }
    Process guest(command, {"PORTPOOL_SOCKET=" + path});
    // Otherwise every second attempt would be left out.
    EXPECT_TRUE(eventually([&] {
      if (was_touched(path)) take_touch_back(path);
      return !guest.running();
    }));
    EXPECT_EQ(guest.wait(), 0) << guest.err();
    EXPECT_EQ(guest.out(), "children with more: 0\n");
  }

  const EchoServer server{{9001}};
};

TEST_F(ForkedChildren, HaveNoDescriptorOfOurs) { have_no_descriptor_of_ours({}, "4"); }

// The thread that attaches loses its CPU between socket() and what it does about it.
TEST_F(ForkedChildren, HaveNoneOfAThreadThatWasInterrupted) {
  have_no_descriptor_of_ours({"strace", "--follow-forks", "--quiet=all", "--output=/dev/null",
                              "--trace=socket", "--inject=socket:delay_exit=30000"},
                             "4");
}

}  // namespace
}  // namespace portpool::test
