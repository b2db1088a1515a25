// came_lately(): which keys come again.
#include "portpool/first_calls.h"

#include <gtest/gtest.h>

#include "base/address_text.h"
#include "lanes/segment.h"

namespace portpool::test {
namespace {

class FirstCallsOf : public ::testing::Test {
 protected:
  FirstCallsOf() : segment_({.lanes = 1, .shards = 1}, {}) { segment_.publish(); }

  bool came(int number) {
    const LaneKey key{Address{}, *parse_address("10.0.0.1"), static_cast<std::uint16_t>(number)};
    return came_lately(segment_.view(), key);
  }
  void beats(std::uint64_t count) { segment_.header().heartbeat += count; }

  Segment segment_;
};

TEST_F(FirstCallsOf, AKeyThatComesAgain) {
  EXPECT_FALSE(came(1));
  EXPECT_TRUE(came(1));
  EXPECT_FALSE(came(2));
  EXPECT_TRUE(came(1));
}

TEST_F(FirstCallsOf, IsForgottenAfterTwoSeconds) {
  EXPECT_FALSE(came(1));
  beats(kMarkBeats);
  EXPECT_TRUE(came(1));
  beats(1);
  EXPECT_FALSE(came(1));
  EXPECT_TRUE(came(1));
}

TEST_F(FirstCallsOf, AcrossTheTurnOfItsClock) {
  beats(0xFFFF - segment_.header().heartbeat % 0x10000);
  EXPECT_FALSE(came(1));
  beats(2);
  EXPECT_TRUE(came(1));
}

// More than the table holds: the oldest go, those of the last moment stay.
TEST_F(FirstCallsOf, TheOldestMakeRoom) {
  for (int number = 1; number < 60'000; ++number) {
    EXPECT_FALSE(came(number)) << number;
    if (number % 300 == 0) beats(1);  // 3,000 a second
  }
  int known = 0;
  for (int number = 59'999 - 3000; number < 60'000; ++number) known += came(number) ? 1 : 0;
  EXPECT_GT(known, 2800);
}

// Whoever may attach can write there: nothing but a call more or less comes of it.
TEST_F(FirstCallsOf, AnythingMayStandThere) {
  for (std::uint32_t i = 0; i < segment_.view().first_calls_count(); ++i) {
    for (auto& mark : segment_.view().first_calls(i).marks) mark = ~std::uint64_t{0} - i;
  }
  EXPECT_FALSE(came(1));
  EXPECT_TRUE(came(1));
}

TEST_F(FirstCallsOf, AnOlderPooldHasNone) {
  segment_.header().first_calls = {};
  SegmentView view;
  ASSERT_EQ(SegmentView::open(&segment_.header(), segment_.structure_size(),
                              &segment_.view().hints(), segment_.hints_size(), view),
            SegmentCheck::ok);
  const LaneKey key{Address{}, *parse_address("10.0.0.1"), 1};
  EXPECT_TRUE(came_lately(view, key));
}

}  // namespace
}  // namespace portpool::test
