// What is read under a sequence lock, on memory that orders nothing by itself: never parts of two
// writes.
#include <gtest/gtest.h>

#include <string>

#include "lanes/segment.h"
#include "model/machine.h"
#include "portpool/attached.h"
#include "portpool/trace.h"

namespace portpool::model {
namespace {

const LaneKey kKey{{}, address_from_v4({htonl(0x0A000002)}), 80};

// One segment for all runs, of whose trace and attached processes there is one place each.
class World {
 public:
  World() {
    segment_.publish();
    StructureHeader& header = segment_.header();
    header.trace.count = 1;
    header.attached.count = 1;
    if (SegmentView::open(&header, segment_.structure_size(), &segment_.view().hints(),
                          segment_.hints_size(), view_) != SegmentCheck::ok) {
      ADD_FAILURE() << "no view";
    }
  }
  const SegmentView& view() const { return view_; }
  StructureWriter writer() const { return StructureWriter(view_); }
  std::uint32_t place() const { return view_.directory_start(hash_of(kKey)); }

 private:
  Segment segment_{{.lanes = 1, .shards = 1}, {}};
  SegmentView view_;
};

World& world() {
  static World one;
  return one;
}

// Version n of the entry: n lanes, each of generation n, flags n.
LaneChoice version(std::uint32_t n) {
  LaneChoice choice;
  choice.flags = n;
  choice.count = n;
  for (std::uint32_t i = 0; i < n; ++i) choice.lanes[i] = {i, n};
  return choice;
}

void look_up() {
  LaneChoice choice;
  if (!find_lanes(world().view(), kKey, choice)) return;
  bool whole = choice.flags == choice.count;
  for (std::uint32_t i = 0; i < choice.count; ++i) {
    whole = whole && choice.lanes[i] == LaneRef{i, choice.count};
  }
  if (!whole) violate("an entry in parts");
}

Scenario directory() {
  return {[] {
            DirectoryEntry& entry = world().writer().directory_entry(world().place());
            entry.sequence = 0;
            world().writer().write_entry(world().place(), kKey, version(2));
          },
          {[] {
             world().writer().write_entry(world().place(), kKey, version(1));
             world().writer().write_entry(world().place(), kKey, version(2));
           },
           look_up},
          [] { return std::string(); }};
}

TEST(SequenceLockModel, ADirectoryEntryIsReadWhole) {
  const Outcome outcome = explore(directory(), Memory::weak);
  EXPECT_EQ(outcome.violation, "");
  EXPECT_GT(outcome.states, 100U);
}

TEST(SequenceLockModel, FindsWhatADirectoryEntryRestsOn) {
  for (const Mutation mutation :
       {Mutation::relaxed_loads, Mutation::relaxed_stores, Mutation::no_fences}) {
    EXPECT_EQ(explore(directory(), Memory::weak, mutation).violation, "an entry in parts")
        << static_cast<int>(mutation);
  }
}

void trace(std::uint32_t mark) {
  TraceRecord record;
  record.pid = mark;
  record.started_ns = record.duration_ns = mark;
  write_trace(world().view(), record);
}

void read_ticket(std::uint64_t ticket) {
  TraceRecord record;
  if (read_trace(world().view(), ticket, record) != TraceRead::complete) return;
  if (record.pid != record.started_ns || record.pid != record.duration_ns) {
    violate("a record in parts");
  }
}

// Two writers of one entry, the second a whole ring ahead, and somebody who waits for that.
TEST(SequenceLockModel, ATraceEntryIsReadWhole) {
  const Scenario scenario{[] {
                            world().view().hints().trace_head = 0;
                            TraceEntry& entry = world().view().trace(0);
                            entry.sequence = 0;
                            entry.pid = 0;
                            entry.started_ns = entry.duration_ns = 0;
                          },
                          {[] { trace(1); }, [] { trace(2); }, [] { read_ticket(1); }},
                          [] { return std::string(); }};
  const Outcome outcome = explore(scenario, Memory::weak);
  EXPECT_EQ(outcome.violation, "");
  EXPECT_GT(outcome.states, 100U);
}

}  // namespace
}  // namespace portpool::model
