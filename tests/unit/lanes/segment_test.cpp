// SegmentView::open(): what is taken for a segment and what is not.
#include "portpool/segment.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "lanes/segment.h"

namespace portpool::test {
namespace {

constexpr Section SegmentHeader::*kSections[] = {
    &SegmentHeader::directory, &SegmentHeader::requests, &SegmentHeader::shards,
    &SegmentHeader::lanes,     &SegmentHeader::pools,    &SegmentHeader::trace};

class OpenSegment : public ::testing::Test {
 protected:
  OpenSegment() : segment_({.lanes = 3, .shards = 2}, {.cookie = 11, .inode = 22}) {
    segment_.set_pool_names({});
  }
  void SetUp() override { segment_.publish(); }

  SegmentCheck open() { return open(segment_.size()); }
  SegmentCheck open(std::size_t size) { return SegmentView::open(&header(), size, view_); }
  SegmentHeader& header() { return segment_.header(); }

  Segment segment_;
  SegmentView view_;
};

TEST_F(OpenSegment, TakesWhatTheDaemonMakes) {
  ASSERT_EQ(open(), SegmentCheck::ok);
  EXPECT_EQ(view_.lane_count(), 3U);
  EXPECT_EQ(view_.shard_count(), 2U);
  EXPECT_EQ(view_.request_count(), kRequestSlots);
  EXPECT_EQ(view_.pool_count(), kMaxPools);
  EXPECT_GE(view_.directory_size(), 64U);
  EXPECT_EQ(view_.network_namespace().cookie, 11U);
  EXPECT_EQ(view_.network_namespace().inode, 22U);
  EXPECT_TRUE(view_.same_geometry(segment_.view()));
  EXPECT_NE(header().generation, 0U);
  EXPECT_EQ(header().segment_size, segment_.size());
}

TEST_F(OpenSegment, SectionsAreAlignedAndDoNotOverlap) {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> spans{{0, sizeof(SegmentHeader)}};
  for (const auto section : kSections) {
    const Section& s = header().*section;
    EXPECT_EQ(s.offset % 64, 0U);
    spans.emplace_back(s.offset, s.offset + std::uint64_t{s.stride} * s.count);
  }
  std::sort(spans.begin(), spans.end());
  for (std::size_t i = 1; i < spans.size(); ++i) EXPECT_LE(spans[i - 1].second, spans[i].first);
  EXPECT_LE(spans.back().second, segment_.size());
}

// A client that maps the segment must not be able to pull the file from under the others.
TEST_F(OpenSegment, IsSealedInSize) {
  const int seals = fcntl(segment_.fd(), F_GET_SEALS);
  EXPECT_EQ(seals & (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL),
            F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
  EXPECT_NE(ftruncate(segment_.fd(), 4096), 0);
}

TEST_F(OpenSegment, MagicZeroIsBeingWritten) {
  header().magic = 0;
  EXPECT_EQ(open(), SegmentCheck::being_written);
}

TEST_F(OpenSegment, AnotherMagicIsNotASegment) {
  header().magic = kMagic + 1;
  EXPECT_EQ(open(), SegmentCheck::not_a_segment);
}

TEST_F(OpenSegment, TooSmallForAHeaderIsNotASegment) {
  EXPECT_EQ(open(0), SegmentCheck::not_a_segment);
  EXPECT_EQ(open(sizeof(SegmentHeader) - 1), SegmentCheck::not_a_segment);
  EXPECT_EQ(SegmentView::open(nullptr, segment_.size(), view_), SegmentCheck::not_a_segment);
}

TEST_F(OpenSegment, AnotherMajorIsRefusedAnotherMinorIsNot) {
  for (const int step : {-1, 1}) {
    header().layout_major = static_cast<std::uint16_t>(kLayoutMajor + step);
    EXPECT_EQ(open(), SegmentCheck::other_layout);
  }
  header().layout_major = kLayoutMajor;
  header().layout_minor = kLayoutMinor + 7;
  EXPECT_EQ(open(), SegmentCheck::ok);
}

TEST_F(OpenSegment, AMappingShorterThanASectionIsBadGeometry) {
  EXPECT_EQ(open(segment_.size() - 1), SegmentCheck::bad_geometry);
  EXPECT_EQ(open(sizeof(SegmentHeader)), SegmentCheck::bad_geometry);
  EXPECT_EQ(open(segment_.size() + 4096), SegmentCheck::ok);
}

TEST_F(OpenSegment, EachSectionsGeometryIsChecked) {
  for (const auto section : kSections) {
    Section& s = header().*section;
    const Section good = s;
    const auto expect_refused = [&](const Section& bad, const char* what) {
      s = bad;
      EXPECT_EQ(open(), SegmentCheck::bad_geometry) << what << ", offset " << good.offset;
      s = good;
    };
    constexpr auto kHuge = std::numeric_limits<std::uint64_t>::max();
    expect_refused({good.offset, good.stride, 0}, "no element");
    expect_refused({good.offset, good.stride, ~std::uint32_t{0}}, "too many elements");
    expect_refused({good.offset, 0, good.count}, "no stride");
    expect_refused({good.offset, good.stride - 64, good.count}, "a shorter stride");
    expect_refused({good.offset, good.stride + 64, good.count}, "a longer stride");
    expect_refused({0, good.stride, good.count}, "over the header");
    expect_refused({sizeof(SegmentHeader) - 64, good.stride, good.count}, "into the header");
    expect_refused({good.offset + 8, good.stride, 1}, "misaligned");
    expect_refused({segment_.size(), good.stride, 1}, "at the end");
    expect_refused({segment_.size() + 4096, good.stride, 1}, "after the end");
    expect_refused({kHuge - 4095, good.stride, 1}, "an offset that wraps");
    expect_refused({kHuge - 4095, good.stride, ~std::uint32_t{0}}, "an end that wraps");
    EXPECT_EQ(open(), SegmentCheck::ok);
  }
}

// As a daemon of layout 1.0 leaves it.
TEST_F(OpenSegment, MayHaveNoTrace) {
  header().trace = {};
  ASSERT_EQ(open(), SegmentCheck::ok);
  EXPECT_EQ(view_.trace_count(), 0U);
}

TEST_F(OpenSegment, TheLastElementMayEndWithTheMapping) {
  const Section& last = header().trace;
  const std::uint64_t end = last.offset + std::uint64_t{last.count} * sizeof(TraceEntry);
  EXPECT_EQ(open(end), SegmentCheck::ok);
  EXPECT_EQ(open(end - 1), SegmentCheck::bad_geometry);
}

TEST_F(OpenSegment, AFailedOpenLeavesTheViewAlone) {
  ASSERT_EQ(open(), SegmentCheck::ok);
  header().lanes.count = ~std::uint32_t{0};
  ASSERT_EQ(open(), SegmentCheck::bad_geometry);
  EXPECT_EQ(view_.lane_count(), 3U);
}

// Geometry is read once: what a client writes into the header later leads nobody out of bounds.
TEST_F(OpenSegment, LaterChangesOfTheHeaderHaveNoEffect) {
  ASSERT_EQ(open(), SegmentCheck::ok);
  const Lane* lane = &view_.lane(2);
  header().lanes = {~std::uint64_t{0}, 1, ~std::uint32_t{0}};
  EXPECT_EQ(&view_.lane(2), lane);
  EXPECT_EQ(view_.lane_count(), 3U);
}

TEST_F(OpenSegment, AnyIndexStaysInside) {
  ASSERT_EQ(open(), SegmentCheck::ok);
  const auto* begin = reinterpret_cast<const unsigned char*>(&header());
  const auto expect_inside = [&](const auto& element) {
    const auto* at = reinterpret_cast<const unsigned char*>(&element);
    EXPECT_GE(at, begin + sizeof(SegmentHeader));
    EXPECT_LE(at + sizeof element, begin + segment_.size());
  };
  for (const std::uint32_t i : {0U, 1U, 2U, 3U, 4U, 64U, 65535U, 0x7FFFFFFFU, 0xFFFFFFFFU}) {
    expect_inside(view_.directory_entry(i));
    expect_inside(view_.request(i));
    expect_inside(view_.shard(i));
    expect_inside(view_.lane(i));
    expect_inside(view_.pool(i));
    expect_inside(view_.trace(i));
  }
  EXPECT_EQ(&view_.lane(3), &view_.lane(0));
}

TEST_F(OpenSegment, PoolNamesAreCutAndTerminated) {
  const std::vector<std::string> names{"edge", std::string(200, 'x')};
  segment_.set_pool_names(names);
  EXPECT_STREQ(segment_.view().pool(0).name, "edge");
  EXPECT_EQ(strnlen(segment_.view().pool(1).name, 64), 63U);
}

TEST(UnpublishedSegment, IsBeingWritten) {
  const Segment segment({.lanes = 1, .shards = 1}, {});
  void* const base = mmap(nullptr, segment.size(), PROT_READ, MAP_SHARED, segment.fd(), 0);
  ASSERT_NE(base, MAP_FAILED);
  SegmentView view;
  EXPECT_EQ(SegmentView::open(base, segment.size(), view), SegmentCheck::being_written);
  munmap(base, segment.size());
}

TEST(NetworkNamespace, ComparesByCookieElseByInode) {
  using Ns = NetworkNamespace;
  EXPECT_TRUE((Ns{1, 7}.same_as(Ns{1, 8})));
  EXPECT_FALSE((Ns{1, 7}.same_as(Ns{2, 7})));
  EXPECT_TRUE((Ns{0, 7}.same_as(Ns{2, 7})));
  EXPECT_FALSE((Ns{1, 7}.same_as(Ns{0, 8})));
}

}  // namespace
}  // namespace portpool::test
