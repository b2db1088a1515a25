// One job at a time beside the loop: what either side wrote is seen by the other.
#include "base/beside.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <stdexcept>

namespace portpool::test {
namespace {

void wait_for(const Beside& beside) {
  pollfd ready{beside.fd(), POLLIN, 0};
  ASSERT_EQ(poll(&ready, 1, 60'000), 1);
}

TEST(BesideTest, WhatAJobWritesIsSeenWhenItIsDone) {
  Beside beside;
  int value = 1;
  for (int round = 0; round < 50; ++round) {
    EXPECT_FALSE(beside.busy());
    value += 1;
    beside.start([&value] { value *= 2; });
    EXPECT_TRUE(beside.busy());
    wait_for(beside);
    ASSERT_TRUE(beside.finish());
    value %= 1000;
  }
  int expected = 1;
  for (int round = 0; round < 50; ++round) expected = (expected + 1) * 2 % 1000;
  EXPECT_EQ(value, expected);
}

TEST(BesideTest, NothingIsDoneBeforeTheJobIs) {
  Beside beside;
  EXPECT_FALSE(beside.finish());
  std::atomic<bool> go = false;
  beside.start([&go] {
    while (!go) {
    }
  });
  EXPECT_FALSE(beside.finish());
  EXPECT_TRUE(beside.busy());
  go = true;
  wait_for(beside);
  EXPECT_TRUE(beside.finish());
  EXPECT_FALSE(beside.finish()) << "only once";
}

TEST(BesideTest, WhatAJobThrowsIsThrownToTheOneWhoFinishes) {
  Beside beside;
  beside.start([] { throw std::runtime_error("no"); });
  wait_for(beside);
  EXPECT_THROW(beside.finish(), std::runtime_error);
  beside.start([] {});
  wait_for(beside);
  EXPECT_TRUE(beside.finish()) << "and the next job has nothing to do with it";
}

TEST(BesideTest, AnEndTellsTheJobUnderWay) {
  for (int round = 0; round < 20; ++round) {
    Beside beside;
    beside.start([&beside] {
      while (!beside.ended_early()) {
      }
    });
  }
}

}  // namespace
}  // namespace portpool::test
