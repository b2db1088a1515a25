// The timeline of top: which stretch of the record each column is, and the way back to it.
#include "observe/top/timeline.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "lanes/segment.h"
#include "observe/top/page.h"

namespace portpool::test {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::uint64_t kStart = 1'767'268'800 * kSecond;

std::string text_of(const std::vector<Line>& lines) {
  std::string text;
  for (const Line& line : lines) text += plain_text(line);
  return text;
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

class Timeline : public testing::Test {
 protected:
  Timeline() : segment({.lanes = 1, .shards = 1}, {}) { segment.publish(); }

  // A sample each second, with as many connects by the pool in second s as `calls` says.
  template <class Calls>
  void fill(std::uint64_t seconds, Calls calls) {
    std::uint32_t sum = 0;
    for (std::uint64_t s = 0; s <= seconds; ++s) {
      sum += calls(s);
      HistorySample& sample = segment.writer().history().fine[s % kFineSamples];
      sample.at_ns = kStart + s * kSecond;
      sample.at_boot_ns = 100'000 * kSecond + s * kSecond;
      sample.latency[0][latency_bucket(100'000) / kSampleJoined] = sum;
      sample.sequence = 2 * s + 2;
    }
    snapshot.alive = true;
    snapshot.history = std::make_shared<HistoryReading>(segment.view(), kStart + seconds * kSecond);
  }
  const HistoryReading& history() const { return *snapshot.history; }
  std::string page(View& view, std::size_t width = 80, std::size_t height = 24) {
    return text_of(draw_page(snapshot, view, width, height).lines);
  }

  Segment segment;
  Snapshot snapshot;
};

TEST_F(Timeline, ColumnsAreOfTheSameLengthAndStay) {
  fill(125, [](std::uint64_t) { return 1U; });
  EXPECT_EQ(timeline_columns(history(), TimelineStep::second).size(), 125U);
  const auto tens = timeline_columns(history(), TimelineStep::ten_seconds);
  for (std::size_t i = 0; i < tens.size(); ++i) {
    const std::size_t follows = i > 0 ? tens[i - 1].to : 0;
    EXPECT_EQ(tens[i].from, follows);
    const bool whole = i > 0 && i + 1 < tens.size();
    EXPECT_TRUE(!whole || tens[i].to - tens[i].from == 10) << i;
  }
  const auto minutes = timeline_columns(history(), TimelineStep::minute);
  EXPECT_LE(minutes.size(), 4U);
  EXPECT_EQ(column_of(tens, 0), 0U);
  EXPECT_EQ(column_of(tens, 125), tens.size() - 1);
  // Another second, and the columns before the last are where they were.
  fill(126, [](std::uint64_t) { return 1U; });
  const auto later = timeline_columns(history(), TimelineStep::ten_seconds);
  for (std::size_t i = 0; i + 1 < tens.size(); ++i) EXPECT_EQ(later[i].to, tens[i].to);
  EXPECT_TRUE(timeline_columns(HistoryReading(), TimelineStep::minute).empty());
}

TEST_F(Timeline, ShowsTheHighestAndMarksWhatIsLookedAt) {
  fill(250, [](std::uint64_t s) { return s == 40 ? 800U : 100U; });
  const auto lines = draw_timeline(history(), TimelineStep::second, std::nullopt, 80);
  ASSERT_EQ(lines.size(), kTimelineHeight);
  for (const Line& line : lines) EXPECT_LE(width_of(line), 80U);
  EXPECT_TRUE(has(text_of(lines), "max 100")) << "the peak is out of sight";
  const auto then = draw_timeline(history(), TimelineStep::second, 40, 80);
  EXPECT_TRUE(has(text_of(then), "max 800")) << text_of(then);
  const auto chosen = std::find_if(then[0].begin(), then[0].end(), [](const Span& span) {
    return span.style == Style::chosen_spark;
  });
  ASSERT_NE(chosen, then[0].end());
  EXPECT_EQ(chosen->text, "8");
  EXPECT_TRUE(has(plain_text(then[4]), "^")) << plain_text(then[4]);
  EXPECT_TRUE(draw_timeline(history(), TimelineStep::second, {}, 20).empty());
  EXPECT_TRUE(draw_timeline(HistoryReading(), TimelineStep::second, {}, 80).empty());
}

TEST_F(Timeline, AnyWidthAndAnyMomentFit) {
  fill(290, [](std::uint64_t s) { return static_cast<std::uint32_t>(s % 7); });
  for (std::size_t width = 1; width <= 320; width += 3) {
    for (const auto step :
         {TimelineStep::second, TimelineStep::ten_seconds, TimelineStep::minute}) {
      for (std::size_t at = 0; at <= 290; at += 29) {
        for (const Line& line : draw_timeline(history(), step, at, width)) {
          EXPECT_LE(width_of(line), width);
        }
      }
    }
  }
}

// What stands there may be another poold's, or nobody's.
TEST_F(Timeline, AnythingMayStandThere) {
  std::mt19937_64 random(3);
  History& rings = segment.writer().history();
  auto* words = reinterpret_cast<std::uint64_t*>(&rings);
  for (int round = 0; round < 10; ++round) {
    for (std::size_t i = 0; i < sizeof rings / 8; ++i) words[i] = random();
    for (std::size_t i = 0; i < kFineSamples; ++i) {
      rings.fine[i].sequence = 2 * (i + kFineSamples * (random() % 3)) + 2;
    }
    snapshot.history = std::make_shared<HistoryReading>(segment.view(), random());
    View view;
    for (int steps : {-1, -7, -1000, 3, 2000, -2}) {
      go(view, snapshot, steps);
      view.step = next_step(view.step);
      for (const std::size_t width : {1U, 40U, 80U, 200U}) {
        for (const Line& line : draw_page(snapshot, view, width, 50).lines) {
          EXPECT_LE(width_of(line), width);
        }
      }
    }
  }
}

TEST_F(Timeline, TheArrowsLeadThereAndBack) {
  fill(100, [](std::uint64_t s) { return s == 98 ? 77U : 0U; });
  View view;
  EXPECT_FALSE(has(page(view), "AT "));
  for (int i = 0; i < 3; ++i) go(view, snapshot, -1);
  ASSERT_NE(view.past, nullptr);
  EXPECT_EQ(view.at, 98U);
  EXPECT_TRUE(has(page(view), "AT ")) << page(view);
  EXPECT_TRUE(has(page(view), "pool        77")) << page(view);
  EXPECT_TRUE(has(page(view), "End: now")) << page(view);
  go(view, snapshot, -1);
  EXPECT_TRUE(has(page(view), "no connects at that time")) << page(view);
  for (int i = 0; i < 4; ++i) go(view, snapshot, 1);
  EXPECT_EQ(view.past, nullptr);
  go(view, snapshot, -1'000'000);
  EXPECT_EQ(view.at, 1U);
  // What comes meanwhile does not move it.
  const std::string before = page(view);
  fill(140, [](std::uint64_t) { return 3U; });
  EXPECT_EQ(view.at, 1U);
  EXPECT_EQ(page(view), before);
  View empty;
  go(empty, Snapshot{}, -1);
  EXPECT_EQ(empty.past, nullptr);
}

}  // namespace
}  // namespace portpool::test
