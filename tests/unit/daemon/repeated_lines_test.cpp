#include "daemon/repeated_lines.h"

#include <gtest/gtest.h>

namespace portpool {
namespace {

using std::chrono::seconds;

class RepeatedLinesTest : public testing::Test {
 protected:
  RepeatedLines lines;
  RepeatedLines::Time start{};
};

TEST_F(RepeatedLinesTest, FirstOfEachKindIsSaid) {
  EXPECT_EQ(lines.take("a", "a 1", start), "a 1");
  EXPECT_EQ(lines.take("a", "a 2", start + seconds(59)), std::nullopt);
  EXPECT_EQ(lines.take("b", "b 1", start + seconds(59)), "b 1");
  EXPECT_EQ(lines.take("a", "a 3", start + seconds(60)), "a 3 (1 more like this before)");
  EXPECT_EQ(lines.take("a", "a 4", start + seconds(120)), "a 4");
}

TEST_F(RepeatedLinesTest, WhatWasLeftOutIsSaidWhenTheMinuteIsOver) {
  EXPECT_TRUE(lines.due(start).empty());
  lines.take("quiet", "once", start);
  lines.take("loud", "first", start);
  for (int i = 0; i < 1000; ++i) lines.take("loud", "number " + std::to_string(i), start);
  EXPECT_TRUE(lines.due(start + seconds(59)).empty());
  EXPECT_EQ(
      lines.due(start + seconds(60)),
      std::vector<std::string>{"1000 more like this in the last minute, the last: number 999"});
  // A flood that goes on is one line a minute.
  EXPECT_EQ(lines.take("loud", "again", start + seconds(61)), std::nullopt);
  EXPECT_TRUE(lines.due(start + seconds(119)).empty());
  EXPECT_EQ(lines.due(start + seconds(120)).size(), 1U);
  EXPECT_TRUE(lines.due(start + seconds(180)).empty());
  EXPECT_EQ(lines.take("loud", "after a rest", start + seconds(181)), "after a rest");
}

}  // namespace
}  // namespace portpool
