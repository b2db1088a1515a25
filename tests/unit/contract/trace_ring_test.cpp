// The trace ring: what is complete is right, what is not is known to be lost.
#include <gtest/gtest.h>

#include <limits>
#include <thread>
#include <vector>

#include "lanes/segment.h"
#include "portpool/trace.h"

namespace portpool::test {
namespace {

class TraceRing : public testing::Test {
 protected:
  TraceRing() : segment({.lanes = 1, .shards = 1}, {}) { segment.publish(); }

  const SegmentView& view() const { return segment.view(); }
  StructureHeader& header() { return segment.header(); }
  HintsHeader& hints() { return segment.view().hints(); }
  std::uint64_t head() { return hints().trace_head.load(); }
  TraceEntry& entry(std::uint64_t ticket) {
    return view().trace(static_cast<std::uint32_t>(ticket % view().trace_count()));
  }
  TraceRead read(std::uint64_t ticket) {
    TraceRecord record;
    return read_trace(view(), ticket, record);
  }

  Segment segment;
};

// Every field of it follows from `n`, so that fields of two records cannot pass for one.
TraceRecord record_of(std::uint64_t n) {
  TraceRecord r;
  r.started_ns = n;
  r.duration_ns = n * 3;
  r.comm.words[0] = n * 5;
  r.comm.words[1] = n * 7;
  r.source = {{n * 11, n * 13}, static_cast<std::uint16_t>(n * 17)};
  r.destination = {{n * 19, n * 23}, static_cast<std::uint16_t>(n * 29)};
  r.pid = static_cast<std::uint32_t>(n * 31);
  r.error = static_cast<int>(n % 134);
  r.arm = static_cast<Route>(n & 1);
  r.path = static_cast<Route>(n >> 1 & 1);
  r.blocking = (n & 4) != 0;
  r.why = static_cast<TraceWhy>(n % 17);
  return r;
}

bool same(const TraceRecord& a, const TraceRecord& b) {
  return a.started_ns == b.started_ns && a.duration_ns == b.duration_ns &&
         a.comm.words[0] == b.comm.words[0] && a.comm.words[1] == b.comm.words[1] &&
         a.source == b.source && a.destination == b.destination && a.pid == b.pid &&
         a.error == b.error && a.arm == b.arm && a.path == b.path && a.blocking == b.blocking &&
         a.why == b.why;
}

TEST_F(TraceRing, GivesBackWhatWasWritten) {
  for (std::uint64_t n = 1; n <= 100; ++n) write_trace(view(), record_of(n));
  ASSERT_EQ(head(), 100U);
  for (std::uint64_t n = 1; n <= 100; ++n) {
    TraceRecord record;
    ASSERT_EQ(read_trace(view(), n - 1, record), TraceRead::complete);
    EXPECT_TRUE(same(record, record_of(n))) << n;
  }
}

TEST_F(TraceRing, OverwritesTheOldest) {
  const std::uint64_t size = view().trace_count();
  for (std::uint64_t n = 0; n < size + 2; ++n) write_trace(view(), record_of(n));
  EXPECT_EQ(read(0), TraceRead::lost);
  EXPECT_EQ(read(1), TraceRead::lost);
  EXPECT_EQ(read(2), TraceRead::complete);
  EXPECT_EQ(read(size + 1), TraceRead::complete);
}

TEST_F(TraceRing, AnEntryThatIsBeingWrittenIsPending) {
  hints().trace_head.store(1);
  EXPECT_EQ(read(0), TraceRead::pending);  // ticket taken, nothing written
  entry(0).sequence.store(1);
  EXPECT_EQ(read(0), TraceRead::pending);
}

TEST_F(TraceRing, AWriterThatDiedCostsOneEntryARound) {
  entry(0).sequence.store(1);
  hints().trace_head.store(1);
  const std::uint64_t size = view().trace_count();
  for (std::uint64_t n = 1; n < size + 2; ++n) write_trace(view(), record_of(n));
  EXPECT_EQ(read(size), TraceRead::lost);
  EXPECT_EQ(read(size + 1), TraceRead::complete);
  EXPECT_EQ(entry(0).sequence.load(), 1U) << "nobody else may write while its writer may return";
}

TEST_F(TraceRing, AWriterThatWasOvertakenLeavesTheNewerEntryAlone) {
  const std::uint64_t size = view().trace_count();
  for (std::uint64_t n = 0; n <= size; ++n) write_trace(view(), record_of(n));
  hints().trace_head.store(0);  // the next writer has the ticket of a round before
  write_trace(view(), record_of(12345));
  TraceRecord record;
  ASSERT_EQ(read_trace(view(), size, record), TraceRead::complete);
  EXPECT_TRUE(same(record, record_of(size)));
}

// Writers overtake each other in a ring of one entry while a reader looks: whatever it calls
// complete is one writer's record, whole.
TEST_F(TraceRing, TornEntriesAreNeverCalledComplete) {
  header().trace.count = 1;
  SegmentView small;
  ASSERT_EQ(
      SegmentView::open(&header(), segment.structure_size(), &hints(), segment.hints_size(), small),
      SegmentCheck::ok);
  constexpr std::uint64_t kEnough = 100000;
  std::atomic<bool> enough{false};
  std::vector<std::thread> writers;
  for (std::uint64_t w = 0; w < 2; ++w) {
    writers.emplace_back([&, w] {
      for (std::uint64_t n = w; !enough; n += 2) write_trace(small, record_of(n));
    });
  }
  std::uint64_t complete = 0;
  std::uint64_t mixed = 0;
  while (complete < kEnough) {
    TraceRecord record;
    const std::uint64_t end = head();
    if (end == 0 || read_trace(small, end - 1, record) != TraceRead::complete) continue;
    ++complete;
    if (!same(record, record_of(record.started_ns))) ++mixed;
  }
  enough = true;
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(mixed, 0U);
}

TEST_F(TraceRing, IsOnForThreeSecondsOfBeats) {
  EXPECT_FALSE(is_traced(view()));
  EXPECT_FALSE(renew_trace(view()));
  EXPECT_TRUE(is_traced(view()));
  EXPECT_TRUE(renew_trace(view()));
  for (std::uint32_t beat = 1; beat < kTraceLeaseBeats; ++beat) {
    segment.beat();
    EXPECT_TRUE(is_traced(view()));
  }
  segment.beat();
  EXPECT_FALSE(is_traced(view()));
  EXPECT_FALSE(renew_trace(view()));
}

TEST_F(TraceRing, ALeaseOutlivesTheWrapOfTheBeats) {
  for (const std::uint64_t beat :
       {0x100000000ULL - kTraceLeaseBeats, 0xFFFFFFF0ULL, 0xFFFFFFFFULL, 0x100000000ULL, ~0ULL}) {
    header().heartbeat.store(beat);
    renew_trace(view());
    EXPECT_TRUE(is_traced(view())) << beat;
  }
}

TEST_F(TraceRing, AScribbledLeaseIsNotBelieved) {
  header().heartbeat.store(1000);
  const std::vector<std::uint32_t> unbelievable{1, 999, 1000, 1001 + kTraceLeaseBeats,
                                                std::numeric_limits<std::uint32_t>::max()};
  for (const std::uint32_t until : unbelievable) {
    hints().trace_until.store(until);
    EXPECT_FALSE(is_traced(view())) << until;
  }
}

}  // namespace
}  // namespace portpool::test
