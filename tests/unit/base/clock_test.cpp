#include "base/clock.h"

#include <gtest/gtest.h>

namespace portpool::test {
namespace {

TEST(Clock, CountsNanoseconds) {
  const std::time_t before = std::time(nullptr);
  const std::uint64_t now = clock_ns(CLOCK_REALTIME);
  const std::time_t after = std::time(nullptr);
  // time() may lag behind by a tick of the kernel's.
  EXPECT_GE(now / 1'000'000'000, static_cast<std::uint64_t>(before));
  EXPECT_LE(now / 1'000'000'000, static_cast<std::uint64_t>(after) + 1);
}

TEST(Clock, ThreadTimeGrowsWithWork) {
  const std::uint64_t start = thread_cpu_ns();
  // Ends when the CPU time has moved, however busy the machine is.
  while (thread_cpu_ns() < start + 1000) {
  }
  EXPECT_GT(clock_ns(CLOCK_PROCESS_CPUTIME_ID), start);
}

}  // namespace
}  // namespace portpool::test
