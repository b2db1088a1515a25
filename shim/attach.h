// The segment in this process: getting it from poold, knowing whether it is alive, getting the next
// one.
//
//   detached --attach ok--> attached --heartbeat stops--> stale --attach ok--> attached (new
//   segment)
//
// While detached or stale, calls take the kernel's path and one caller a second tries to attach;
// when poold has told that a successor with another segment is there (kReplaced), one at once.
#pragma once

#include <cstdint>

#include "portpool/fallback.h"
#include "portpool/segment.h"

namespace portpool::shim {

// At load time: the first attempt, at most kAttachTimeoutMs long.
void attach_at_start();

// The segment when poold is alive; null with the reason otherwise. Never blocks, except the one
// caller that tries to attach again (at most kAttachTimeoutMs). now: now_ns().
const SegmentView* live_segment(std::uint64_t now, FallbackReason& why);

// The heartbeat of `view` has moved within the last kHeartbeatStaleMs, as far as this process
// looked.
bool heartbeat_moves(const SegmentView& view, std::uint64_t now);

// The segment whether poold is alive or not (to count in, to release into); null when never
// attached. A pointer stays usable for good: a new segment of the same sizes takes the place of the
// old one in memory, one of other sizes gets a place of its own. Who looks at the moment of the
// change may see the structure of one and the hints of the other: a lane of the first does not
// stand in the second (LaneRef), and a port is checked before it is used.
const SegmentView* mapped_segment();

// How ports are pinned: what the daemon had chosen when this process attached.
Strategy attached_strategy();

// After mlockall(): what is mapped of the segment is not locked.
void unlock_segment();

// Counts reasons that had no segment to be counted in; they are added to the next one.
void count_without_segment(FallbackReason why);

}  // namespace portpool::shim
