// Random steps through the real preload, under both strategies, in a range so small that the last
// ports are always near.
//
// PORTPOOL_STRESS_SECONDS: how long each test goes on (6). PORTPOOL_STRESS_SEED: the choices of an
// earlier run, whose seed it printed.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>

#include "support/walk/random_walk.h"

namespace portpool::test {
namespace {

// Between two rests, at which lanes must agree with the kernel's table.
constexpr int kStepsPerRound = 120;

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr ? std::strtoull(value, nullptr, 10) : otherwise;
}

void stress(const WalkShape& shape) {
  const std::uint64_t seconds = from_environment("PORTPOOL_STRESS_SECONDS", 6);
  const std::uint64_t seed =
      from_environment("PORTPOOL_STRESS_SEED", std::random_device{}() % 1'000'000);
  const auto* test = testing::UnitTest::GetInstance()->current_test_info();
  const std::string again = "PORTPOOL_STRESS_SEED=" + std::to_string(seed) +
                            " PORTPOOL_STRESS_SECONDS=" + std::to_string(seconds) + " " +
                            guest_command("").front() +
                            " --gtest_filter=" + test->test_suite_name() + "." + test->name();
  std::printf("seed %llu; the same again:\n  %s\n", static_cast<unsigned long long>(seed),
              again.c_str());
  std::fflush(stdout);
  SCOPED_TRACE("the same again: " + again);

  RandomWalk driver(shape, seed);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  do {
    for (int i = 0; i < kStepsPerRound && !testing::Test::HasFailure(); ++i) driver.step();
    if (!testing::Test::HasFailure()) driver.rest();
  } while (!testing::Test::HasFailure() && std::chrono::steady_clock::now() < end);
  if (!testing::Test::HasFailure()) driver.finish();

  const WalkCounts& counts = driver.counts();
  std::printf(
      "%llu steps, %llu connects; by the pool %llu, by the kernel %llu; rejections %llu; "
      "EADDRNOTAVAIL: %llu natively too, %llu not at the next try, %llu after a bind(); "
      "%llu lanes compared\n",
      static_cast<unsigned long long>(counts.steps),
      static_cast<unsigned long long>(counts.connects),
      static_cast<unsigned long long>(counts.by_pool),
      static_cast<unsigned long long>(counts.by_kernel),
      static_cast<unsigned long long>(counts.rejections),
      static_cast<unsigned long long>(counts.exhausted),
      static_cast<unsigned long long>(counts.recovered),
      static_cast<unsigned long long>(counts.own_binds + counts.stuck),
      static_cast<unsigned long long>(counts.lanes_compared));
  if (!testing::Test::HasFailure()) {
    EXPECT_GT(counts.by_pool, 0U);
    EXPECT_GT(counts.lanes_compared, 0U);
  }
}

TEST(Stress, PortRange64) { stress({"port-range", 64}); }
TEST(Stress, PortRange400) { stress({"port-range", 400}); }
TEST(Stress, Bind64) { stress({"bind", 64}); }
TEST(Stress, Bind400) { stress({"bind", 400}); }

}  // namespace
}  // namespace portpool::test
