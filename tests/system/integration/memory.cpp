// What the library adds to a program's memory: address space, locked memory, core dumps, huge
// pages. Counted natively and under the shim, by the kernel.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "support/temp_dir.h"
#include "system/integration/common.h"

namespace portpool::test {
namespace {

namespace fs = std::filesystem;

constexpr long kMiB = 1024 * 1024;

// "VmLck" of /proc/self/status and the like, in bytes.
long memory(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(field + ":")) return std::stol(line.substr(field.size() + 1)) * 1024;
  }
  return -1;
}

void connect_to(const SocketAddress& destination, int count) {
  for (int i = 0; i < count; ++i) {
    const int fd = connected_socket(destination);
    CHECK_THAT(fd >= 0 && echo_round_trip(fd));
    close_with_reset(fd);
  }
}

// WHEN DESTINATION...: locks all memory early in main() or after its connections; then says how
// much is locked, before and after (further) connections.
GUEST(locks_memory) {
  const bool early = arguments.at(0) == "early";
  const auto use = [&] {
    for (std::size_t i = 1; i < arguments.size(); ++i) connect_to(SocketAddress(arguments[i]), 3);
  };
  if (!early) use();
  CHECK_THAT(mlockall(MCL_CURRENT | MCL_FUTURE) == 0);
  say(std::to_string(memory("VmLck")));
  use();
  say(std::to_string(memory("VmLck")));
}

std::vector<long> figures(const GuestResult& result) {
  EXPECT_EQ(result.status, 0) << result.out << result.err;
  std::istringstream words(result.out);
  std::vector<long> all;
  for (long figure = 0; words >> figure;) all.push_back(figure);
  return all;
}

class Memory : public PooledNet {
 protected:
  Memory() { poold.make_lanes({kOtherEcho}); }

  // Of two runs, one figure after the other: no more than `most` bytes between them.
  static void expect_at_most(long most, const GuestResult& under, const GuestResult& natively) {
    const std::vector<long> with = figures(under);
    const std::vector<long> without = figures(natively);
    ASSERT_EQ(with.size(), without.size());
    ASSERT_FALSE(with.empty());
    for (std::size_t i = 0; i < with.size(); ++i) {
      EXPECT_LE(with[i], without[i] + most) << "figure " << i;
    }
  }
};

TEST_F(Memory, LockedBeforeAndAfterConnecting) {
  for (const char* when : {"early", "late"}) {
    SCOPED_TRACE(when);
    const std::uint64_t before = pool_connects(poold.status());
    expect_at_most(2 * kMiB, run_guest("locks_memory", poold.shim(), {when, kEcho, kOtherEcho}),
                   run_guest("locks_memory", native(), {when, kEcho, kOtherEcho}));
    EXPECT_GT(pool_connects(poold.status()), before);
  }
}

// The daemon comes only when the program has locked its memory, and what it will map.
GUEST(locks_memory_and_waits) {
  CHECK_THAT(mlockall(MCL_CURRENT | MCL_FUTURE) == 0);
  say(std::to_string(memory("VmLck")));
  await_line();
  for (int i = 0; i < 40; ++i) {
    connect_to(SocketAddress(arguments.at(0)), 1);
    usleep(50'000);
  }
  say(std::to_string(memory("VmLck")));
}

TEST_F(EchoNet, LockedBeforeTheDaemonComes) {
  const auto run = [&](const Under& under, std::unique_ptr<Poold>& daemon) {
    Process guest = start_guest("locks_memory_and_waits", under, {kEcho});
    guest.wait_for_output("\n");
    if (daemon) daemon->restart();
    guest.send_line("on");
    const int status = guest.wait();
    return GuestResult{status, guest.out(), guest.err()};
  };
  std::unique_ptr<Poold> none;
  const std::vector<long> without = figures(run(native(), none));
  auto daemon = std::make_unique<Poold>();
  daemon->stop();
  const std::vector<long> with = figures(run(shim_at(daemon->socket()), daemon));
  ASSERT_EQ(with.size(), 2U);
  ASSERT_EQ(without.size(), 2U);
  EXPECT_LE(with[0], without[0] + 2 * kMiB);
  EXPECT_LE(with[1], without[1] + 2 * kMiB);
  EXPECT_GT(pool_connects(daemon->status()), 0U);
}

GUEST(says_its_address_space) { say(std::to_string(memory("VmSize"))); }

GuestResult run_locking_program(const Under& under, const Arguments& arguments) {
  std::vector<std::string> command{PORTPOOL_LOCKING_PROGRAM};
  command.insert(command.end(), arguments.begin(), arguments.end());
  std::vector<std::string> environment;
  if (under.shim) environment = preload_environment();
  environment.insert(environment.end(), under.environment.begin(), under.environment.end());
  Process process(command, environment);
  const int status = process.wait();
  return {status, process.out(), process.err()};
}

// Without the right to lock more than 2.5 MB above what it takes natively. What it maps later fits,
// too.
TEST_F(Memory, ASmallLimitOfLockedMemory) {
  if (is_sanitized()) GTEST_SKIP() << "the sanitizer takes more";
  const std::vector<long> size = figures(run_locking_program(native(), {"size"}));
  ASSERT_EQ(size.size(), 1U);
  const long limit = size[0] + 5 * kMiB / 2;
  rlimit allowed{};
  ASSERT_EQ(getrlimit(RLIMIT_MEMLOCK, &allowed), 0);
  if (allowed.rlim_max < static_cast<rlim_t>(limit)) GTEST_SKIP() << "RLIMIT_MEMLOCK is too low";
  const std::uint64_t before = pool_connects(poold.status());
  EXPECT_EQ(run_locking_program(native(), {std::to_string(limit), "9001"}), GuestResult{});
  EXPECT_EQ(run_locking_program(poold.shim(), {std::to_string(limit), "9001"}), GuestResult{});
  EXPECT_EQ(pool_connects(poold.status()) - before, 3U);
}

TEST_F(Memory, AddressSpace) {
  expect_at_most(2 * kMiB, run_guest("says_its_address_space", poold.shim()),
                 run_guest("says_its_address_space", native()));
}

// DIRECTORY DESTINATION
GUEST(dumps_core) {
  connect_to(SocketAddress(arguments.at(1)), 3);
  CHECK_THAT(chdir(arguments.at(0).c_str()) == 0);
  const rlimit limit{RLIM_INFINITY, RLIM_INFINITY};
  CHECK_THAT(setrlimit(RLIMIT_CORE, &limit) == 0);
  signal(SIGABRT, SIG_DFL);
  abort();
}

TEST_F(Memory, CoreDumps) {
  if (is_sanitized()) GTEST_SKIP() << "the sanitizer's memory is dumped, too";
  const std::string pattern = read_whole_file("/proc/sys/kernel/core_pattern");
  if (!pattern.starts_with("core")) GTEST_SKIP() << "cores do not go to the directory: " << pattern;
  const auto core_size = [&](const Under& under) -> long {
    const TempDir directory;
    EXPECT_NE(run_guest("dumps_core", under, {directory.path(), kEcho}).status, 0);
    for (const auto& file : fs::directory_iterator(directory.path())) {
      if (file.path().filename().string().starts_with("core")) {
        return static_cast<long>(file.file_size());
      }
    }
    return -1;
  };
  const long without = core_size(native());
  if (without < 0) GTEST_SKIP() << "no core is written here";
  const long with = core_size(poold.shim());
  EXPECT_GT(with, 0);
  EXPECT_LE(with, without + kMiB);
}

// DESTINATION: pages of the library's mappings that are huge.
GUEST(says_huge_pages) {
  connect_to(SocketAddress(arguments.at(0)), 3);
  std::ifstream maps("/proc/self/smaps");
  bool ours = false;
  int mappings = 0;
  for (std::string line; std::getline(maps, line);) {
    if (line.find('-') < 20 && line.find(':') > 30) {
      ours = line.find("/memfd:portpool") != std::string::npos;
      mappings += ours ? 1 : 0;
    }
    if (!ours) continue;
    for (const char* field : {"AnonHugePages:", "ShmemPmdMapped:", "FilePmdMapped:"}) {
      if (line.starts_with(field)) CHECK_THAT(std::stol(line.substr(line.find(':') + 1)) == 0);
    }
    if (line.starts_with("VmFlags:")) {
      CHECK_THAT(line.find(" dd") != std::string::npos && line.find(" nh") != std::string::npos);
    }
  }
  say(std::to_string(mappings));
}

// Structure, the beginning of the hints, one lane.
TEST_F(Memory, NoHugePagesAndOneLane) {
  EXPECT_EQ(run_guest("says_huge_pages", poold.shim(), {kEcho}), (GuestResult{0, "3\n", ""}));
}

// A new segment replaces what was mapped of the old one, lane by lane: no more mappings than
// before.
GUEST(says_mappings_on_demand) {
  for (;;) {
    await_line();
    connect_to(SocketAddress(arguments.at(0)), 3);
    std::ifstream maps("/proc/self/maps");
    int mappings = 0;
    for (std::string line; std::getline(maps, line);) {
      mappings += line.find("/memfd:portpool") != std::string::npos ? 1 : 0;
    }
    say("mappings " + std::to_string(mappings));
  }
}

TEST_F(Memory, ANewSegmentReplacesEachLane) {
  Process guest = start_guest("says_mappings_on_demand", poold.shim(), {kEcho});
  guest.send_line("look");
  guest.wait_for_output("mappings 3\n");
  for (int i = 0; i < 3; ++i) {
    poold.restart();
    EXPECT_TRUE(eventually([&] {
      const std::uint64_t before = pool_connects(poold.status());
      const std::size_t said = guest.out().size();
      guest.send_line("look");
      EXPECT_TRUE(eventually([&] { return guest.out().find('\n', said) != std::string::npos; }));
      return pool_connects(poold.status()) - before == 3;
    }));
  }
  EXPECT_EQ(guest.out().find("mappings 4"), std::string::npos) << guest.out();
  guest.signal(SIGKILL);
  guest.wait();
}

}  // namespace
}  // namespace portpool::test
