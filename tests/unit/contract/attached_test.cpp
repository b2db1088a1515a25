// The table of attached processes: who gets an entry, and what a reader believes.
#include "portpool/attached.h"

#include <gtest/gtest.h>

#include <set>

#include "lanes/segment.h"

namespace portpool::test {
namespace {

class AttachedTable : public ::testing::Test {
 protected:
  AttachedTable() : segment_({.lanes = 1, .shards = 1}, {}) { segment_.publish(); }

  static AttachedIdentity process(std::uint32_t pid, std::uint32_t random) {
    return {std::uint64_t{random} << 32 | pid, 5, {0x61, 0}, 7, 1};
  }
  std::uint32_t take(const AttachedIdentity& who, std::uint32_t beat) {
    return take_attached_place(segment_.view(), who, beat);
  }
  AttachedProcess& entry(std::uint32_t i) { return segment_.view().attached(i); }

  Segment segment_;
  AttachedRecord found_;
};

TEST_F(AttachedTable, KeepsWhatAProcessSays) {
  const std::uint32_t place = take(process(12, 34), 3);
  ASSERT_EQ(place, 34U);
  entry(place).connects[1] += 2;
  entry(place).fallbacks[4] += 1;
  ASSERT_TRUE(read_attached(entry(place), found_));
  EXPECT_EQ(found_.who.pid(), 12U);
  EXPECT_EQ(found_.who.since_ns, 5U);
  EXPECT_EQ(found_.who.comm[0], 0x61U);
  EXPECT_EQ(found_.who.pid_namespace, 7U);
  EXPECT_EQ(found_.who.mode, 1U);
  EXPECT_EQ(found_.connects[0], 0U);
  EXPECT_EQ(found_.connects[1], 2U);
  EXPECT_EQ(found_.fallbacks[4], 1U);
  EXPECT_EQ(found_.beat, 3U);
}

TEST_F(AttachedTable, EntriesThatAreNobodysOrTorn) {
  EXPECT_FALSE(read_attached(entry(0), found_));
  const std::uint32_t place = take(process(12, 34), 3);
  entry(place).owner = process(13, 35).owner;  // taken over, and not written yet
  EXPECT_FALSE(read_attached(entry(place), found_));
  entry(place).owner = 0;
  EXPECT_FALSE(read_attached(entry(place), found_));
}

// Only what has been silent for ten seconds is given to another one, the most silent first.
TEST_F(AttachedTable, FullOfOthers) {
  const std::uint32_t last = segment_.view().attached_count() - 1;
  std::set<std::uint32_t> places;
  for (std::uint32_t pid = 1; pid <= kAttachedProbes; ++pid) {
    places.insert(take(process(pid, last), 1000 + pid));
  }
  EXPECT_EQ(places.size(), kAttachedProbes);
  EXPECT_TRUE(places.contains(last) && places.contains(0));  // it goes round
  EXPECT_EQ(take(process(99, last), 1001 + kAttachedSilentBeats - 1), kNoAttachedPlace);
  entry(last).connects[0] = 7;
  EXPECT_EQ(take(process(99, last), 1001 + kAttachedSilentBeats), last);
  ASSERT_TRUE(read_attached(entry(last), found_));
  EXPECT_EQ(found_.who.pid(), 99U);
  EXPECT_EQ(found_.connects[0], 0U);
  EXPECT_EQ(take(process(100, last), 1001 + kAttachedSilentBeats), kNoAttachedPlace);
}

TEST_F(AttachedTable, SegmentWithoutOne) {
  segment_.header().attached = {};
  SegmentView view;
  ASSERT_EQ(SegmentView::open(&segment_.header(), segment_.structure_size(),
                              &segment_.view().hints(), segment_.hints_size(), view),
            SegmentCheck::ok);
  EXPECT_EQ(take_attached_place(view, process(1, 2), 3), kNoAttachedPlace);
}

}  // namespace
}  // namespace portpool::test
