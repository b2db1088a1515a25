// Asking poold for a lane, and giving ports back to one.
#pragma once

#include <cstdint>

#include "portpool/segment.h"
#include "shim/sockets.h"

namespace portpool::shim {

// Places a request and wakes poold: one system call. Not when the key comes for the first time in a
// while, to any program (first_calls.h), and not when the slots for this key are taken (by an
// earlier request for the same key, most likely); the next call asks again.
void request_lane(const SegmentView& view, const LaneKey& key);

// Somebody claims from the lane.
void mark_used(const SegmentView& view, LaneHints& lane);
// `random` says which calls are counted.
void count_connect(LaneHints& lane, std::uint64_t random);

// Asks poold to look at a lane that is running low, at most once until it has done so.
void ask_attention(const SegmentView& view, LaneRef lane);

// Where a port goes that a socket held.
enum class Release {
  free,        // the kernel has let go of it, or will within a round trip
  quarantine,  // it may be in TIME_WAIT or still open elsewhere: reconcile decides
  rejected,    // the kernel refused it though the lane thought it free
};

// Does nothing when the lane is not in service any more: its ports are then no business of ours.
void give_back(const SegmentView& view, LaneRef lane, std::uint16_t port, Release how);

// The same for the port that `state` holds or was promised, if any.
void give_back(const SocketState& state, Release how);

}  // namespace portpool::shim
