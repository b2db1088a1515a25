// SegmentView::open(): what is taken for a segment and what is not.
#include "portpool/segment.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "lanes/segment.h"
#include "portpool/memory_file.h"

namespace portpool::test {
namespace {

constexpr Section StructureHeader::*kInStructure[] = {
    &StructureHeader::directory, &StructureHeader::lane_infos, &StructureHeader::pools,
    &StructureHeader::port_rules, &StructureHeader::history};
constexpr Section StructureHeader::*kInHints[] = {
    &StructureHeader::requests, &StructureHeader::shards,      &StructureHeader::lane_hints,
    &StructureHeader::trace,    &StructureHeader::first_calls, &StructureHeader::bound_ports,
    &StructureHeader::attached};

class OpenSegment : public ::testing::Test {
 protected:
  OpenSegment() : segment_({.lanes = 3, .shards = 2}, {.cookie = 11, .inode = 22}) {
    segment_.set_pool_names({});
  }
  void SetUp() override { segment_.publish(); }

  SegmentCheck open() { return open(segment_.structure_size(), segment_.hints_size()); }
  SegmentCheck open(std::size_t structure_size, std::size_t hints_size) {
    return SegmentView::open(&header(), structure_size, &segment_.view().hints(), hints_size,
                             view_);
  }
  StructureHeader& header() { return segment_.header(); }

  Segment segment_;
  SegmentView view_;
};

TEST_F(OpenSegment, TakesWhatTheDaemonMakes) {
  ASSERT_EQ(open(), SegmentCheck::ok);
  EXPECT_EQ(view_.lane_count(), 3U);
  EXPECT_EQ(view_.shard_count(), 2U);
  EXPECT_EQ(view_.request_count(), kRequestSlots);
  EXPECT_EQ(view_.first_calls_count(), kFirstCallsPlaces);
  EXPECT_EQ(view_.pool_count(), kMaxPools);
  EXPECT_EQ(view_.trace_count(), kTraceEntries);
  EXPECT_GE(view_.directory_size(), 64U);
  EXPECT_EQ(view_.network_namespace().cookie, 11U);
  EXPECT_EQ(view_.network_namespace().inode, 22U);
  EXPECT_TRUE(view_.same_geometry(segment_.view()));
  EXPECT_NE(header().generation, 0U);
  EXPECT_EQ(header().structure_size, segment_.structure_size());
  EXPECT_EQ(header().hints_size, segment_.hints_size());
}

template <class Sections>
void expect_apart(const StructureHeader& header, const Sections& sections, std::size_t header_size,
                  std::size_t size) {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> spans{{0, header_size}};
  for (const auto section : sections) {
    const Section& s = header.*section;
    EXPECT_EQ(s.offset % 64, 0U);
    spans.emplace_back(s.offset, s.offset + std::uint64_t{s.stride} * s.count);
  }
  std::sort(spans.begin(), spans.end());
  for (std::size_t i = 1; i < spans.size(); ++i) EXPECT_LE(spans[i - 1].second, spans[i].first);
  EXPECT_LE(spans.back().second, size);
}

TEST_F(OpenSegment, SectionsAreAlignedAndDoNotOverlap) {
  expect_apart(header(), kInStructure, sizeof(StructureHeader), segment_.structure_size());
  expect_apart(header(), kInHints, sizeof(HintsHeader), segment_.hints_size());
}

// A client that maps a file must not be able to pull it from under the others.
TEST_F(OpenSegment, IsSealedInSize) {
  EXPECT_TRUE(is_memory_file(segment_.structure_fd(), segment_.structure_size()));
  EXPECT_TRUE(is_memory_file(segment_.hints_fd(), segment_.hints_size()));
  EXPECT_FALSE(is_memory_file(segment_.hints_fd(), segment_.hints_size() - 4096));
  EXPECT_NE(ftruncate(segment_.hints_fd(), 4096), 0);
}

TEST_F(OpenSegment, TheStructureIsHandedOverReadOnly) {
  const int fd = segment_.structure_fd();
  const std::size_t size = segment_.structure_size();
  EXPECT_EQ(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
  EXPECT_EQ(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
  void* const mapped = mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
  ASSERT_NE(mapped, MAP_FAILED);
  EXPECT_NE(mprotect(mapped, size, PROT_READ | PROT_WRITE), 0);
  munmap(mapped, size);
  struct stat info {};
  ASSERT_EQ(fstat(fd, &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600U);
}

// Whether user 65534 may open the file behind `fd` for writing, through /proc.
bool others_can_write(int fd) {
  const pid_t child = fork();
  if (child == 0) {
    const bool other = setresuid(65534, 65534, 65534) == 0 && prctl(PR_SET_DUMPABLE, 1) == 0;
    const std::string path = "/proc/self/fd/" + std::to_string(fd);
    const bool opened = open(path.c_str(), O_RDWR | O_CLOEXEC) >= 0;
    _exit(!other ? 2 : opened ? 1 : errno == EACCES ? 0 : 3);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) < 2) << status;
  return WEXITSTATUS(status) == 1;
}

TEST_F(OpenSegment, AnotherUserCannotOpenItForWriting) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to become another user";
  const Descriptor anybodys(memfd_create("anybody's", MFD_CLOEXEC));
  EXPECT_TRUE(others_can_write(anybodys.get())) << "the attempt itself works";
  EXPECT_FALSE(others_can_write(segment_.structure_fd()));
  EXPECT_FALSE(others_can_write(segment_.hints_fd()));
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
  const std::size_t hints = segment_.hints_size();
  EXPECT_EQ(open(0, hints), SegmentCheck::not_a_segment);
  EXPECT_EQ(open(sizeof(StructureHeader) - 1, hints), SegmentCheck::not_a_segment);
  EXPECT_EQ(SegmentView::open(nullptr, segment_.structure_size(), &view_, hints, view_),
            SegmentCheck::not_a_segment);
  EXPECT_EQ(SegmentView::open(&header(), segment_.structure_size(), nullptr, hints, view_),
            SegmentCheck::bad_geometry);
  EXPECT_EQ(open(segment_.structure_size(), sizeof(HintsHeader) - 1), SegmentCheck::bad_geometry);
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
  const std::size_t structure = segment_.structure_size();
  const std::size_t hints = segment_.hints_size();
  EXPECT_EQ(open(structure, hints - 1), SegmentCheck::bad_geometry);
  EXPECT_EQ(open(structure, sizeof(HintsHeader)), SegmentCheck::bad_geometry);
  EXPECT_EQ(open(structure - 4096, hints), SegmentCheck::bad_geometry);
  EXPECT_EQ(open(sizeof(StructureHeader), hints), SegmentCheck::bad_geometry);
  EXPECT_EQ(open(structure + 4096, hints + 4096), SegmentCheck::ok);
}

TEST_F(OpenSegment, EachSectionsGeometryIsChecked) {
  const auto check = [this](Section StructureHeader::*section, std::size_t header_size,
                            std::size_t size) {
    Section& s = header().*section;
    const Section good = s;
    const auto expect_refused = [&](const Section& bad, const char* what) {
      s = bad;
      EXPECT_EQ(open(), SegmentCheck::bad_geometry) << what << ", offset " << good.offset;
      s = good;
    };
    constexpr auto kHuge = std::numeric_limits<std::uint64_t>::max();
    const bool may_be_missing =
        section == &StructureHeader::first_calls || section == &StructureHeader::port_rules ||
        section == &StructureHeader::bound_ports || section == &StructureHeader::attached ||
        section == &StructureHeader::history;
    if (!may_be_missing) expect_refused({}, "no section");
    expect_refused({good.offset, good.stride, 0}, "no element");
    expect_refused({good.offset, good.stride, ~std::uint32_t{0}}, "too many elements");
    expect_refused({good.offset, 0, good.count}, "no stride");
    expect_refused({good.offset, good.stride - 64, good.count}, "a shorter stride");
    expect_refused({good.offset, good.stride + 64, good.count}, "a longer stride");
    expect_refused({0, good.stride, good.count}, "over the header");
    expect_refused({header_size - 64, good.stride, good.count}, "into the header");
    expect_refused({good.offset + 8, good.stride, 1}, "misaligned");
    expect_refused({size, good.stride, 1}, "at the end");
    expect_refused({size + 4096, good.stride, 1}, "after the end");
    expect_refused({kHuge - 4095, good.stride, 1}, "an offset that wraps");
    expect_refused({kHuge - 4095, good.stride, ~std::uint32_t{0}}, "an end that wraps");
    EXPECT_EQ(open(), SegmentCheck::ok);
  };
  for (const auto section : kInStructure) {
    check(section, sizeof(StructureHeader), segment_.structure_size());
  }
  for (const auto section : kInHints) check(section, sizeof(HintsHeader), segment_.hints_size());
}

TEST_F(OpenSegment, EachLaneStandsInBothFiles) {
  --header().lane_infos.count;
  EXPECT_EQ(open(), SegmentCheck::bad_geometry);
}

TEST_F(OpenSegment, TheLastElementMayEndWithTheMapping) {
  const std::size_t structure = segment_.structure_size();
  const Section& last = header().trace;
  const std::uint64_t end = last.offset + std::uint64_t{last.count} * sizeof(TraceEntry);
  EXPECT_EQ(open(structure, end), SegmentCheck::ok);
  EXPECT_EQ(open(structure, end - 1), SegmentCheck::bad_geometry);
}

TEST_F(OpenSegment, AFailedOpenLeavesTheViewAlone) {
  ASSERT_EQ(open(), SegmentCheck::ok);
  header().lane_infos.count = ~std::uint32_t{0};
  ASSERT_EQ(open(), SegmentCheck::bad_geometry);
  EXPECT_EQ(view_.lane_count(), 3U);
}

// A poold before 3.1 knows nothing of first calls, port rules and bound ports.
TEST_F(OpenSegment, SectionsOf31MayBeMissing) {
  header().bound_ports = {};
  header().first_calls = {};
  header().attached = {};
  header().port_rules = {};
  ASSERT_EQ(open(), SegmentCheck::ok);
  EXPECT_EQ(view_.first_calls_count(), 0U);
  EXPECT_EQ(view_.attached_count(), 0U);
  EXPECT_EQ(view_.port_rules(), nullptr);
  EXPECT_EQ(view_.bound_ports(), nullptr);
  EXPECT_TRUE(required_range(view_, {}).empty());
  EXPECT_GT(view_.common_hints_size(), 0U);
}

// A poold before 3.2 records nothing.
TEST_F(OpenSegment, HistoryMayBeMissing) {
  ASSERT_EQ(open(), SegmentCheck::ok);
  ASSERT_NE(view_.history(), nullptr);
  EXPECT_EQ(view_.common_structure_size(), header().history.offset);
  header().history = {};
  ASSERT_EQ(open(), SegmentCheck::ok);
  EXPECT_EQ(view_.history(), nullptr);
  EXPECT_EQ(view_.common_structure_size(), 0U);
}

// Geometry is read once.
TEST_F(OpenSegment, LaterChangesOfTheHeaderHaveNoEffect) {
  ASSERT_EQ(open(), SegmentCheck::ok);
  const LaneHints* lane = &view_.lane_hints(2);
  header().lane_hints = {~std::uint64_t{0}, 1, ~std::uint32_t{0}};
  EXPECT_EQ(&view_.lane_hints(2), lane);
  EXPECT_EQ(view_.lane_count(), 3U);
}

TEST_F(OpenSegment, AnyIndexStaysInside) {
  ASSERT_EQ(open(), SegmentCheck::ok);
  const auto expect_inside = [](const auto& element, const auto& head, std::size_t size) {
    const auto* begin = reinterpret_cast<const unsigned char*>(&head);
    const auto* at = reinterpret_cast<const unsigned char*>(&element);
    EXPECT_GE(at, begin + sizeof head);
    EXPECT_LE(at + sizeof element, begin + size);
  };
  const std::size_t structure = segment_.structure_size();
  const std::size_t hints = segment_.hints_size();
  for (const std::uint32_t i : {0U, 1U, 2U, 3U, 4U, 64U, 65535U, 0x7FFFFFFFU, 0xFFFFFFFFU}) {
    expect_inside(view_.directory_entry(i), view_.header(), structure);
    expect_inside(view_.lane_info(i), view_.header(), structure);
    expect_inside(view_.pool(i), view_.header(), structure);
    expect_inside(view_.request(i), view_.hints(), hints);
    expect_inside(view_.first_calls(i), view_.hints(), hints);
    expect_inside(view_.attached(i), view_.hints(), hints);
    expect_inside(view_.shard(i), view_.hints(), hints);
    expect_inside(view_.lane_hints(i), view_.hints(), hints);
    expect_inside(view_.trace(i), view_.hints(), hints);
  }
  EXPECT_EQ(&view_.lane_hints(3), &view_.lane_hints(0));
}

TEST_F(OpenSegment, PoolNamesAreCutAndTerminated) {
  const std::vector<std::string> names{"edge", std::string(200, 'x')};
  segment_.set_pool_names(names);
  EXPECT_STREQ(segment_.view().pool(0).name, "edge");
  EXPECT_EQ(strnlen(segment_.view().pool(1).name, 64), 63U);
}

TEST(UnpublishedSegment, IsBeingWritten) {
  const Segment segment({.lanes = 1, .shards = 1}, {});
  const std::size_t size = segment.structure_size();
  void* const base = mmap(nullptr, size, PROT_READ, MAP_SHARED, segment.structure_fd(), 0);
  ASSERT_NE(base, MAP_FAILED);
  SegmentView view;
  EXPECT_EQ(SegmentView::open(base, size, nullptr, 0, view), SegmentCheck::being_written);
  munmap(base, size);
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
