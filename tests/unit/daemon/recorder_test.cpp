// The recorder: what it writes is what stood in the shards, and a successor goes on behind it.
#include "daemon/recorder.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "observe/history.h"
#include "portpool/port_map.h"
#include "portpool/results.h"

namespace portpool::test {
namespace {

Address v4(std::uint32_t address) { return address_from_v4({htonl(address)}); }

class RecorderTest : public testing::Test {
 protected:
  RecorderTest() : segment(published(16, 2)), lanes(segment.writer()) {}

  static Segment published(std::uint32_t lanes, std::uint32_t shards) {
    Segment made({.lanes = lanes, .shards = shards}, {});
    made.publish();
    return made;
  }
  void connect(std::uint32_t shard_index, Route path, std::uint64_t ns, ConnectResult result) {
    Shard& shard = segment.view().shard(shard_index);
    shard.latency[histogram_index(Route::pool, path, true)].record(ns);
    shard.counters[static_cast<std::size_t>(result_counter(path, result))].fetch_add(1);
  }
  HistoryReading read() { return HistoryReading(segment.view(), clock_ns(CLOCK_REALTIME)); }

  Segment segment;
  LaneTable lanes;
};

TEST_F(RecorderTest, WritesWhatAllShardsHave) {
  Recorder recorder(segment.writer(), lanes);
  for (int i = 0; i < 100; ++i) connect(0, Route::pool, 20'000, ConnectResult::k_ok);
  for (int i = 0; i < 10; ++i) connect(1, Route::kernel, 900'000, ConnectResult::k_etimedout);
  segment.view().shard(1).fallbacks[static_cast<std::size_t>(FallbackReason::k_no_lane)] = 10;
  segment.header().clients = 3;
  recorder.record();
  const HistoryReading history = read();
  ASSERT_EQ(history.points().size(), 2U);
  EXPECT_TRUE(history.begins_with_daemon());
  const Happened happened = history.between(0, 1);
  EXPECT_EQ(happened.report.path(Route::pool).count, 100U);
  EXPECT_EQ(happened.report.path(Route::kernel).count, 10U);
  EXPECT_EQ(happened.errors(), 10U);
  EXPECT_EQ(happened.missed(), 10U);
  EXPECT_EQ(happened.main_reason(), FallbackReason::k_no_lane);
  EXPECT_EQ(happened.report.clients, 3U);
}

TEST_F(RecorderTest, TheFullestLanesComeFirst) {
  for (std::uint16_t port = 1; port <= 12; ++port) {
    LaneRecord* record = lanes.add({v4(0x7F000001), v4(0x0A000001), port}, 0, {20000, 20999});
    ASSERT_NE(record, nullptr);
    lanes.set_range(*record, 0, {20000, 20999});
    record->filled = true;
    LaneHints& hints = lanes.hints(*record);
    // 100 ports free, 200, 300 ...; ports in no map are in use.
    for (int i = 0; i < port * 80; ++i) release(hints, static_cast<std::uint16_t>(20000 + i));
    record->free = port * 80U;
  }
  Recorder recorder(segment.writer(), lanes);
  recorder.record();
  const auto points = read().points();
  ASSERT_FALSE(points.empty());
  EXPECT_EQ(points.back().lanes_in_service, 12U);
  ASSERT_EQ(points.back().lanes.size(), kSampleLanes);
  for (std::size_t i = 0; i < kSampleLanes; ++i) {
    const LaneReport& lane = points.back().lanes[i];
    EXPECT_EQ(lane.key.destination_port, i + 1);
    EXPECT_EQ(lane.counts.capacity, 1000U);
    EXPECT_EQ(lane.counts.free, (i + 1) * 80);
    EXPECT_EQ(lane.counts.in_use, 1000 - (i + 1) * 80);
  }
}

TEST_F(RecorderTest, TheRingGoesRound) {
  const auto memory = [&] {
    struct stat info {};
    EXPECT_EQ(fstat(segment.structure_fd(), &info), 0);
    return static_cast<std::size_t>(info.st_blocks) * 512;
  };
  const std::size_t before = memory();
  Recorder recorder(segment.writer(), lanes);
  EXPECT_FALSE(read().points().empty());
  EXPECT_LE(memory(), before + 4 * 4096) << "it takes memory as it is used, by readers too";
  for (std::size_t i = 0; i < 2 * kFineSamples; ++i) {
    connect(0, Route::pool, 20'000, ConnectResult::k_ok);
    recorder.record();
  }
  const auto points = read().points();
  std::size_t fine = 0;
  for (const HistoryPoint& point : points) fine += point.fine ? 1 : 0;
  EXPECT_EQ(fine, kFineSamples);
  const HistoryReading history = read();
  EXPECT_EQ(history.between(points.size() - 2, points.size() - 1).connects(), 1U);
}

// With the files of an earlier poold, which was killed while it wrote.
TEST_F(RecorderTest, ASuccessorGoesOn) {
  {
    Recorder recorder(segment.writer(), lanes);
    connect(0, Route::pool, 20'000, ConnectResult::k_ok);
    recorder.record();
    recorder.record();
  }
  segment.writer().history().fine[2].sequence = 2 * 2 + 1;
  connect(0, Route::pool, 20'000, ConnectResult::k_ok);
  Recorder successor(segment.writer(), lanes);
  const HistoryReading history = read();
  ASSERT_EQ(history.points().size(), 3U);
  EXPECT_EQ(history.points().back().ticket, 2U);
  EXPECT_EQ(history.between(0, 2).connects(), 2U);
  EXPECT_EQ(history.between(1, 2).connects(), 1U);
}

// CPUs on which nothing ever connects cost a page, not their whole shard.
TEST_F(RecorderTest, NothingIsReadWhereNothingIsCounted) {
  const Segment many = published(1, 128);
  const LaneTable none(many.writer());
  Recorder recorder(many.writer(), none);
  recorder.record();
  struct stat info {};
  ASSERT_EQ(fstat(many.hints_fd(), &info), 0);
  EXPECT_LT(info.st_blocks * 512, 128 * 2 * 4096);
}

}  // namespace
}  // namespace portpool::test
