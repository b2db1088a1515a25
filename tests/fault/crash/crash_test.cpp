// Programs and poold that die and stop at the worst moments: what it does to connections, and how
// long poold takes to agree with the kernel again. tests/fault/run.sh goes on for longer.
//
// PORTPOOL_FAULT_SECONDS: how long each test goes on (3). PORTPOOL_FAULT_SEED: the choices of an
// earlier run, whose seed it printed. PORTPOOL_FAULT_TABLE: a file for the table of all.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "fault/crash/fault_walk.h"
#include "fault/fault_table.h"
#include "support/temp_dir.h"

namespace portpool::test {
namespace {

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr ? std::strtoull(value, nullptr, 10) : otherwise;
}

std::vector<Fault> all_faults() {
  std::vector<Fault> faults;
  for (const CrashPoint& point : kCrashPoints) {
    for (const int signal : {SIGKILL, SIGSTOP}) faults.push_back({&point, signal});
  }
  return faults;
}

class TableAtTheEnd : public testing::Environment {
 public:
  static FaultTable& table() {
    static FaultTable rows;
    return rows;
  }
  void TearDown() override { table().write(); }
};
[[maybe_unused]] const auto* const kTableAtTheEnd =
    testing::AddGlobalTestEnvironment(new TableAtTheEnd);

// The tests begin at different faults: together they try each, however short they are.
void crash(const char* strategy, int ports, std::size_t first) {
  const std::uint64_t seconds = from_environment("PORTPOOL_FAULT_SECONDS", 3);
  const std::uint64_t seed =
      from_environment("PORTPOOL_FAULT_SEED", std::random_device{}() % 1'000'000);
  const std::string again =
      "PORTPOOL_FAULT_SEED=" + std::to_string(seed) +
      " PORTPOOL_FAULT_SECONDS=" + std::to_string(seconds) + " " + guest_command("").front() +
      " --gtest_filter=" +
      testing::UnitTest::GetInstance()->current_test_info()->test_suite_name() + "." +
      testing::UnitTest::GetInstance()->current_test_info()->name();
  std::printf("the same again:\n  %s\n", again.c_str());
  std::fflush(stdout);
  SCOPED_TRACE("the same again: " + again);

  const int times = seconds < 10 ? 2 : 10;  // between two rests
  const std::vector<Fault> faults = all_faults();
  CrashControl control;
  FaultWalk walk(control, {strategy, ports, CRASHING_POOLD, CRASHING_SHIM}, seed);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  for (std::size_t round = 0; round < 3 || std::chrono::steady_clock::now() < end; ++round) {
    const Fault& fault = faults[(first + round) % faults.size()];
    const FaultRow row = walk.try_out(fault, times);
    TableAtTheEnd::table().add(fault.words(), row);
    if (testing::Test::HasFailure()) return;
  }
  walk.finish();
  const WalkCounts& counts = walk.counts();
  std::printf(
      "%llu times, %llu connects; EADDRNOTAVAIL: %llu natively too, %llu not at the next try, "
      "%llu after the program's own bind(), %llu after the pool's; %llu lanes compared\n",
      static_cast<unsigned long long>(control.obeyed()),
      static_cast<unsigned long long>(counts.connects),
      static_cast<unsigned long long>(counts.exhausted),
      static_cast<unsigned long long>(counts.recovered),
      static_cast<unsigned long long>(counts.own_binds),
      static_cast<unsigned long long>(counts.stuck),
      static_cast<unsigned long long>(counts.lanes_compared));
  EXPECT_GT(control.obeyed(), 0U);
  EXPECT_GT(counts.lanes_compared, 0U);
}

TEST(Crash, PortRange1) { crash("port-range", 1, 0); }
TEST(Crash, PortRange8) { crash("port-range", 8, 3); }
TEST(Crash, PortRange64) { crash("port-range", 64, 6); }
TEST(Crash, PortRange400) { crash("port-range", 400, 9); }
TEST(Crash, PortRange4000) { crash("port-range", 4000, 12); }
TEST(Crash, Bind1) { crash("bind", 1, 15); }
TEST(Crash, Bind8) { crash("bind", 8, 18); }
TEST(Crash, Bind64) { crash("bind", 64, 21); }
TEST(Crash, Bind400) { crash("bind", 400, 24); }
TEST(Crash, Bind4000) { crash("bind", 4000, 25); }

TEST(Crash, NothingOfItIsShipped) {
  const auto has_points = [](const std::string& program) {
    const std::string content = read_whole_file(program);
    bool found = content.find(kCrashOrderVariable) != std::string::npos ||
                 content.find("pass_crash_point") != std::string::npos;
    for (const CrashPoint& point : kCrashPoints) {
      // As a string: an identifier of that name may stand in the debug information.
      found |= content.find('\0' + std::string(point.name) + '\0') != std::string::npos;
    }
    return found;
  };
  EXPECT_FALSE(has_points(shim_path()));
  EXPECT_FALSE(has_points(poold_path()));
  EXPECT_TRUE(has_points(CRASHING_SHIM));
  EXPECT_TRUE(has_points(CRASHING_POOLD));
}

}  // namespace
}  // namespace portpool::test
