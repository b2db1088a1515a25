// poold is replaced while programs connect all the time: they keep the segment, and nothing fails.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <iostream>
#include <map>
#include <random>
#include <thread>

#include "observe/report.h"
#include "observe/segment_reader.h"
#include "system/integration/common.h"

namespace portpool::test {
namespace {

GUEST(connect_until_told) {
  const SocketAddress destination(arguments.at(0));
  pollfd told{STDIN_FILENO, POLLIN, 0};
  std::uint64_t made = 0;
  say("begun");
  while (poll(&told, 1, 0) == 0) {
    const int fd = connected_socket(destination);
    CHECK_THAT(fd >= 0);
    CHECK_THAT(local_port(fd) >= kLowPort && local_port(fd) <= kHighPort);
    CHECK_THAT(echo_round_trip(fd));
    close_with_reset(fd);
    if (++made % 16 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  say(std::to_string(made) + " made");
}

struct Reading {
  explicit Reading(const SegmentView& view)
      : report(read_report(view)),
        pool(report.path(Route::pool).count),
        kernel(report.path(Route::kernel).count),
        attaches(report.counter(Counter::k_attaches)) {}
  Report report;
  std::uint64_t pool;
  std::uint64_t kernel;
  std::uint64_t attaches;
};

double percent(std::uint64_t part, std::uint64_t whole) {
  return whole == 0 ? 0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole);
}

class Restart : public PooledNet {
 protected:
  Restart() : guest(start_guest("connect_until_told", poold.shim(), {kEcho})) {
    guest.wait_for_output("begun");
    EXPECT_TRUE(poold.eventually_status([](const auto& now) { return pool_connects(now) > 0; }));
  }

  SegmentReader reader() const { return SegmentReader(poold.socket()); }
  void expect_no_error() {
    guest.send_line("");
    EXPECT_EQ(guest.wait(), 0) << guest.err();
    EXPECT_EQ(guest.err(), "");
    EXPECT_NE(guest.out().find(" made"), std::string::npos);
  }
  // The pool is used, now.
  void expect_pool_goes_on() {
    const SegmentReader now = reader();
    const std::uint64_t so_far = Reading(now.view()).pool;
    EXPECT_TRUE(eventually([&] { return Reading(now.view()).pool > so_far + 100; }));
  }

  Process guest;
};

// What the restarts between two readings did to the connects, printed; more than two in a hundred
// on the kernel's path is more than a busy machine explains.
void judge(const Reading& before, const Reading& after, int restarts, double worst) {
  const std::uint64_t kernel = after.kernel - before.kernel;
  const std::uint64_t all = after.pool - before.pool + kernel;
  const double share = percent(kernel, all);
  std::cout << restarts << " restarts, " << all << " connects: " << kernel
            << " on the kernel's path (" << share << " %; " << worst << " % in the worst round)\n";
  for (std::size_t i = 0; i < kFallbackReasons; ++i) {
    const std::uint64_t count = after.report.fallbacks[i] - before.report.fallbacks[i];
    if (count != 0) std::cout << "  " << kFallbackTexts[i].name << " " << count << "\n";
  }
  EXPECT_GT(all, 0U);
  EXPECT_LT(share, 2.0);
}

TEST_F(Restart, TwoHundredUnderLoad) {
  constexpr int kRestarts = 200;
  const SegmentReader kept = reader();
  const StructureHeader& header = kept.view().header();
  const std::uint64_t generation = header.generation;
  const auto attached = poold.status().at("clients").at("attached");
  const Reading first(kept.view());
  Reading last = first;
  double worst = 0;
  for (int i = 0; i < kRestarts; ++i) {
    const pid_t before = header.daemon_pid;
    ASSERT_NO_THROW(poold.take_over());
    EXPECT_NE(header.daemon_pid, before);
    EXPECT_EQ(header.daemon_pid, poold.process().pid());
    EXPECT_EQ(header.generation, generation);
    EXPECT_EQ(header.stopped, 0U);
    Reading now(kept.view());
    EXPECT_GE(now.pool, last.pool) << "counters go on";
    worst = std::max(
        worst, percent(now.kernel - last.kernel, now.kernel - last.kernel + now.pool - last.pool));
    last = now;
  }
  expect_pool_goes_on();
  const Reading end(kept.view());
  EXPECT_EQ(end.attaches, first.attaches) << "programs keep their mapping";
  EXPECT_EQ(SegmentReader(poold.socket()).view().header().generation, generation);
  EXPECT_GE(poold.status().at("clients").at("attached"), attached) << "who is attached is told";
  judge(first, end, kRestarts, worst);
  expect_no_error();
}

GUEST(hold_one) {
  const int fd = connected_socket(SocketAddress(arguments.at(0)));
  CHECK_THAT(fd >= 0);
  say("held");
  await_line();
  CHECK_THAT(echo_round_trip(fd));
  close_with_reset(fd);
  say("closed");
  await_line();
}

// A port that was given out before a restart is in use after it, and free once it is closed.
TEST_F(Restart, PortsInUseStayInUse) {
  poold.make_lanes({kOtherEcho});
  Process holder = start_guest("hold_one", poold.shim(), {kOtherEcho});
  holder.wait_for_output("held");
  const auto holds = [&](int ports) {
    return eventually(
        [&] { return lane_of(poold.status(), kOtherEcho).at("in_use").get<int>() == ports; });
  };
  ASSERT_TRUE(holds(1));
  for (int i = 0; i < 3; ++i) {
    poold.take_over();
    // One more for an instant, where a free port is on its way from one map to another.
    EXPECT_GE(lane_of(poold.status(), kOtherEcho).at("in_use"), 1);
    EXPECT_TRUE(holds(1));
  }
  EXPECT_EQ(poold.status().at("lanes").size(), 2U);
  holder.send_line("");
  holder.wait_for_output("closed");
  EXPECT_TRUE(holds(0)) << poold.status();
  expect_no_error();
}

// The successor's configuration holds at once, for lanes that are there too.
TEST_F(Restart, NewRulesApplyToOldLanes) {
  const SegmentReader kept = reader();
  const std::uint64_t attaches = Reading(kept.view()).attaches;
  const std::string text = "[[pool]]\nname = \"edge\"\ndestinations = [\"" + kEcho +
                           "\"]\nport_range = \"21000-22000\"\n";
  const char* strategy = std::getenv("PORTPOOL_TEST_STRATEGY");
  TempDir folder;
  const std::string config = folder.write(
      "next.toml",
      strategy != nullptr ? "strategy = \"" + std::string(strategy) + "\"\n" + text : text);
  Process next(
      {poold_path(), "serve", "--socket", poold.socket(), "--config", config, "--take-over"});
  EXPECT_EQ(poold.process().wait(), 0) << poold.process().err();
  EXPECT_TRUE(eventually([&] {
    const auto lane = lane_of(poold.status(), kEcho);
    return lane.at("pool") == "edge" && lane.at("capacity") == 1001;
  })) << poold.status()
      << next.err();
  expect_pool_goes_on();
  EXPECT_EQ(Reading(kept.view()).attaches, attaches);
  expect_no_error();
  next.signal(SIGTERM);
  EXPECT_EQ(next.wait(), 0);
}

// Other files: programs attach again as soon as they are there, without waiting for the heartbeat.
TEST_F(Restart, OtherFilesAreAttachedToAtOnce) {
  const SegmentReader before = reader();
  const StructureHeader& header = before.view().header();
  TempDir folder;
  const char* strategy = std::getenv("PORTPOOL_TEST_STRATEGY");
  std::string text = "max_lanes = 2048\n";
  if (strategy != nullptr) text += "strategy = \"" + std::string(strategy) + "\"\n";
  Process next({poold_path(), "serve", "--socket", poold.socket(), "--config",
                folder.write("next.toml", text), "--take-over"});
  ASSERT_TRUE(eventually([&] { return header.stopped == kReplaced; })) << next.err();
  const auto replaced = std::chrono::steady_clock::now();
  EXPECT_EQ(poold.process().wait(), 0) << poold.process().err();
  const SegmentReader after = reader();
  EXPECT_NE(after.view().header().generation, header.generation);
  EXPECT_EQ(after.view().lane_count(), 2048U);
  ASSERT_TRUE(eventually([&] { return Reading(after.view()).attaches > 0; }));
  const auto took = std::chrono::steady_clock::now() - replaced;
  std::cout << "attached again after at most "
            << std::chrono::duration_cast<std::chrono::milliseconds>(took).count() << " ms\n";
  EXPECT_TRUE(eventually([&] { return Reading(after.view()).pool > 0; }));
  EXPECT_NE(next.err().find("max_lanes"), std::string::npos) << next.err();
  expect_no_error();
  next.signal(SIGTERM);
  EXPECT_EQ(next.wait(), 0);
}

// kill -9 of either, at whatever step it is: somebody serves, and no connect fails.
TEST_F(Restart, EitherIsKilledOnTheWay) {
  std::minstd_rand random(std::random_device{}());
  for (int round = 0; round < 16; ++round) {
    std::vector<std::string> command = poold.command();
    command.emplace_back("--take-over");
    Process successor(command);
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 40'000));
    const bool old_dies = round % 2 == 0;
    (old_dies ? poold.process() : successor).signal(SIGKILL);
    Process& survivor = old_dies ? successor : poold.process();
    (old_dies ? poold.process() : successor).wait();
    // The victim may have been the only one left: it had taken over already.
    const bool goes_on = eventually([&] {
      if (!survivor.running()) return true;
      try {
        return poold.status().at("daemon").at("pid") == survivor.pid();
      } catch (const std::exception&) {
        return false;
      }
    });
    ASSERT_TRUE(goes_on) << survivor.err();
    if (old_dies) {
      EXPECT_TRUE(survivor.running()) << survivor.err();
      successor.signal(SIGTERM);
      EXPECT_EQ(successor.wait(), 0) << successor.err();
    }
    poold.restart();
  }
  expect_pool_goes_on();
  expect_no_error();
}

// A child, or what a child has left behind, that is not in a group which Process ends as a whole.
class Orphan {
 public:
  explicit Orphan(pid_t pid) : pid_(pid) {}
  explicit Orphan(std::vector<std::string> command) : pid_(fork()) {
    if (pid_ != 0) return;
    std::vector<char*> argv;
    for (std::string& word : command) argv.push_back(word.data());
    argv.push_back(nullptr);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    execv(argv[0], argv.data());
    _exit(127);
  }
  ~Orphan() {
    if (ended_) return;
    ::kill(pid_, SIGTERM);
    EXPECT_EQ(wait(), 0);
  }
  pid_t pid() const { return pid_; }
  int wait() {
    int status = -1;
    ended_ = eventually([&] { return waitpid(pid_, &status, WNOHANG) == pid_; });
    return status;
  }
  Orphan(const Orphan&) = delete;
  Orphan& operator=(const Orphan&) = delete;

 private:
  pid_t pid_;
  bool ended_ = false;
};

// As an upgrade does it: the program's file is replaced, and the signal sent.
TEST_F(EchoNet, ASignalStartsTheSuccessorFromTheSamePath) {
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  const TempDir folder;
  const std::string program = folder.file("poold");
  const std::string socket = folder.file("socket");
  std::filesystem::copy_file(poold_path(), program);
  Orphan poold({program, "serve", "--socket", socket});
  ASSERT_TRUE(eventually([&] { return std::filesystem::exists(socket); }));
  Process guest = start_guest("connect_until_told", shim_at(socket, {kBeginAttached}), {kEcho});
  guest.wait_for_output("begun");
  const SegmentReader kept(socket);
  ASSERT_TRUE(eventually([&] { return Reading(kept.view()).pool > 0; }));
  std::filesystem::copy_file(poold_path(), folder.file("next"));
  std::filesystem::rename(folder.file("next"), program);
  ::kill(poold.pid(), SIGUSR2);
  EXPECT_EQ(poold.wait(), 0);
  const pid_t successor = kept.view().header().daemon_pid;
  ASSERT_NE(successor, poold.pid());
  const Orphan end(successor);
  EXPECT_EQ(std::filesystem::read_symlink("/proc/" + std::to_string(successor) + "/exe"), program);
  const SegmentReader now(socket);
  EXPECT_EQ(now.view().header().generation, kept.view().header().generation);
  const std::uint64_t so_far = Reading(kept.view()).pool;
  EXPECT_TRUE(eventually([&] { return Reading(kept.view()).pool > so_far + 100; }));
  guest.send_line("");
  EXPECT_EQ(guest.wait(), 0) << guest.err();
}

// One that cannot start is no loss.
TEST_F(PooledNet, ASuccessorThatFailsIsReported) {
  const TempDir folder;
  // It finds out when everything is its own already: there is no address for the metrics.
  Process wrong({poold_path(), "serve", "--socket", poold.socket(), "--config",
                 folder.write("wrong.toml", "metrics_listen = \"" + kEcho + "\"\n"),
                 "--take-over"});
  EXPECT_EQ(wrong.wait(), 2);
  EXPECT_NE(wrong.err().find(kEcho), std::string::npos) << wrong.err();
  EXPECT_TRUE(eventually([&] {
    return poold.process().err().find("this poold goes on") != std::string::npos;
  })) << poold.process().err();
  EXPECT_EQ(poold.status().at("daemon").at("pid"), poold.process().pid());
  EXPECT_EQ(run_guest("echo_often", poold.shim(), {kEcho, "20"}), GuestResult{});
  EXPECT_TRUE(poold.eventually_status([](const auto& now) { return pool_connects(now) >= 20; }))
      << poold.status();
}

TEST_F(PooledNet, WithoutTheOptionAnotherOneIsAnError) {
  Process second({poold_path(), "serve", "--socket", poold.socket()});
  EXPECT_EQ(second.wait(), 2);
  EXPECT_NE(second.err().find("another poold is running"), std::string::npos) << second.err();
}

TEST_F(EchoNet, WithNobodyThereItSimplyStarts) {
  const TempDir folder;
  Process poold({poold_path(), "serve", "--socket", folder.file("socket"), "--take-over"});
  ASSERT_TRUE(eventually([&] { return std::filesystem::exists(folder.file("socket")); }))
      << poold.err();
  poold.signal(SIGTERM);
  EXPECT_EQ(poold.wait(), 0) << poold.err();
}

}  // namespace
}  // namespace portpool::test
