// What a call leaves in the segment: its latency, its result, the reason of a fallback.
#pragma once

#include <cstdint>

#include "portpool/counters.h"
#include "portpool/fallback.h"
#include "portpool/segment.h"

namespace portpool::shim {

struct ConnectRecord {
  Route arm;
  Route path;
  bool blocking;
  int error;  // errno of the call, 0 when it returned 0
  std::uint64_t ns;
  bool cpu_sampled = false;
  std::uint64_t cpu_ns = 0;  // of the calling thread; with cpu_sampled
};

// All relaxed additions to the shard of the CPU at hand. view may be null: then nothing is
// recorded.
void record(const SegmentView* view, const ConnectRecord& call);
void count(const SegmentView* view, Counter counter);

// A call that was ours took the kernel's path because there is a filter (filter.h): without a
// system call, on whatever machine.
void count_filtered(const SegmentView* view, int error);

// A call that was ours took the kernel's path. Without a segment it is kept for the next one.
void count(const SegmentView* view, FallbackReason why);

}  // namespace portpool::shim
