#include "kernel/time_offsets.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace portpool::kernel {
namespace {

TEST(TimeOffsets, AsTheKernelWritesThem) {
  const auto offsets =
      parse_time_offsets("monotonic       90000         5\nboottime           -1 999999999\n");
  ASSERT_TRUE(offsets);
  EXPECT_EQ(offsets->monotonic, 90'000'000'000'005);
  EXPECT_EQ(offsets->boottime, -1);
}

TEST(TimeOffsets, SomethingElse) {
  EXPECT_FALSE(parse_time_offsets(""));
  EXPECT_FALSE(parse_time_offsets("monotonic 1 0\n"));
  EXPECT_FALSE(parse_time_offsets("monotonic 9223372036854775807 0\nboottime 1 0\n"));
}

TEST(TimeOffsets, OwnAreThoseOfThisProcess) {
  const auto own = own_time_offsets();
  const auto by_pid = time_offsets(getpid());
  ASSERT_EQ(own.has_value(), by_pid.has_value());
  if (!own) GTEST_SKIP() << "no time namespaces";
  EXPECT_EQ(own->boottime, by_pid->boottime);
  EXPECT_FALSE(time_offsets(0x7FFFFFFF));
}

}  // namespace
}  // namespace portpool::kernel
