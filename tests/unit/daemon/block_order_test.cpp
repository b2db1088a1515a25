// The order of arms in mode ab.
#include "daemon/block_order.h"

#include <gtest/gtest.h>

namespace portpool::test {
namespace {

using std::chrono::nanoseconds;

constexpr nanoseconds kLength{2'000'000'000};

TEST(BlockOrderTest, EachPairHasBothArmsForTheSameTime) {
  BlockOrder order(kLength, 1);
  for (int i = 0; i < 1000; ++i) {
    const BlockOrder::Block first = order.next();
    const BlockOrder::Block second = order.next();
    ASSERT_NE(first.arm, second.arm);
    ASSERT_EQ(first.length, second.length);
    ASSERT_GE(first.length, kLength * 9 / 10);
    ASSERT_LE(first.length, kLength * 11 / 10);
  }
}

TEST(BlockOrderTest, OrderAndLengthVary) {
  BlockOrder order(kLength, 2);
  int pool_first = 0;
  nanoseconds shortest = kLength;
  nanoseconds longest = kLength;
  for (int i = 0; i < 1000; ++i) {
    const BlockOrder::Block first = order.next();
    order.next();
    pool_first += first.arm == Route::pool ? 1 : 0;
    shortest = std::min(shortest, first.length);
    longest = std::max(longest, first.length);
  }
  // Seven standard deviations of a fair coin.
  EXPECT_GT(pool_first, 390);
  EXPECT_LT(pool_first, 610);
  EXPECT_LT(shortest, kLength * 91 / 100);
  EXPECT_GT(longest, kLength * 109 / 100);
}

TEST(BlockOrderTest, SameSeedSameOrder) {
  BlockOrder a(kLength, 3);
  BlockOrder b(kLength, 3);
  BlockOrder other(kLength, 4);
  bool differs = false;
  for (int i = 0; i < 100; ++i) {
    const BlockOrder::Block block = a.next();
    const BlockOrder::Block same = b.next();
    ASSERT_EQ(block.arm, same.arm);
    ASSERT_EQ(block.length, same.length);
    differs = other.next().length != block.length || differs;
  }
  EXPECT_TRUE(differs);
}

}  // namespace
}  // namespace portpool::test
