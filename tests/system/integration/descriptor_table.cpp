// What the library keeps of descriptors costs a program only as much as it has of them: counted in
// pages that are touched, since times depend on the machine.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#include <fstream>
#include <vector>

#include "system/integration/common.h"

namespace portpool::test {
namespace {

// Pages of private anonymous memory that the process has in its page table (mincore(2) counts those
// that were only read, too).
std::size_t touched_pages() {
  std::size_t touched = 0;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    std::uintptr_t begin = 0;
    std::uintptr_t end = 0;
    char permissions[8] = "";
    std::uint64_t inode = 0;
    if (std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " %7s %*x %*s %" SCNu64, &begin, &end,
                    permissions, &inode) != 4 ||
        inode != 0 || permissions[0] != 'r' || permissions[3] != 'p' || line.back() == ']') {
      continue;
    }
    std::vector<unsigned char> present((end - begin) / 4096);
    if (mincore(reinterpret_cast<void*>(begin), end - begin, present.data()) != 0) continue;
    for (const unsigned char page : present) touched += page & 1U;
  }
  return touched;
}

void close_everything(const std::string& way) {
  if (way == "closefrom") return closefrom(100);
  CHECK_THAT(close_range(100, ~0U, 0) == 0);
}

// WAY FORK
GUEST(closes_everything) {
  touched_pages();  // whatever the looking itself needs
  const std::size_t before = touched_pages();
  if (arguments.at(1) == "vfork") {
    const pid_t child = vfork();
    if (child == 0) {
      close_everything(arguments.at(0));
      _exit(0);
    }
    int status = -1;
    CHECK_THAT(waitpid(child, &status, 0) == child && status == 0);
  } else {
    close_everything(arguments.at(0));
  }
  const std::size_t after = touched_pages();
  if (after > before + 16) say("touched " + std::to_string(after - before) + " pages");
}

TEST_F(PooledNet, ClosingEverythingTouchesNothing) {
  for (const char* way : {"closefrom", "close_range"}) {
    for (const char* child : {"vfork", "no child"}) {
      EXPECT_EQ(run_guest("closes_everything", poold.shim(), {way, child}), GuestResult{})
          << way << ", " << child;
    }
  }
}

// Descriptors on both sides of the table's inner borders are known, and forgotten when closed: the
// next socket with the same number is as new.
GUEST(uses_high_numbers) {
  const SocketAddress destination(arguments.at(0));
  for (const int number : {63, 64, 127, 16'383, 16'384, 16'500}) {
    const int made = connected_socket(destination);
    CHECK_THAT(made >= 0 && dup2(made, number) == number && close(made) == 0);
    CHECK_THAT(echo_round_trip(number));
    CHECK_THAT(connect_error(number, destination) == EISCONN);
    CHECK_THAT(close_range(static_cast<unsigned>(number), static_cast<unsigned>(number), 0) == 0);
    const int fresh = tcp_socket(AF_INET);
    CHECK_THAT(fresh >= 0 && dup2(fresh, number) == number && close(fresh) == 0);
    CHECK_THAT(connect_error(number, destination) == 0);
    CHECK_THAT(echo_round_trip(number));
    close_with_reset(number);
  }
}

TEST_F(PooledNet, HighNumbers) {
  expect_same_as_native("uses_high_numbers", poold.shim(), {kEcho});
  EXPECT_GE(pool_connects(poold.status()), 12U);
}

// What a core dump would take of the library's: mappings that are neither left out of it nor huge
// by themselves, as smaps has their flags.
GUEST(says_what_may_be_dumped) {
  std::ifstream maps("/proc/self/smaps");
  bool ours = false;
  int seen = 0;
  for (std::string line; std::getline(maps, line);) {
    if (line.find("-") != std::string::npos && line.find(" ") < 40 && line.find(":") > 20) {
      ours = line.find("/memfd:portpool") != std::string::npos;
    }
    if (!ours || !line.starts_with("VmFlags:")) continue;
    ++seen;
    CHECK_THAT(line.find(" dd") != std::string::npos && line.find(" nh") != std::string::npos);
  }
  say(std::to_string(seen));
}

TEST_F(PooledNet, TheSegmentStaysOutOfCoreDumps) {
  EXPECT_EQ(run_guest("says_what_may_be_dumped", poold.shim()), (GuestResult{0, "2\n", ""}));
}

// The part of the table that a program does not use takes no address space.
GUEST(says_its_size) {
  std::ifstream status("/proc/self/statm");
  std::size_t pages = 0;
  status >> pages;
  say(std::to_string(pages * 4096));
}

TEST_F(EchoNet, TheTableIsSmallUntilItIsUsed) {
  const auto size = [&](const Under& under) {
    const GuestResult result = run_guest("says_its_size", under);
    EXPECT_EQ(result.status, 0) << result.err;
    return std::stol(result.out);
  };
  // Without a daemon: the library itself, its table, no segment.
  EXPECT_LT(size(shim_at("/nonexistent/poold.sock")), size(native()) + 1'000'000);
}

}  // namespace
}  // namespace portpool::test
