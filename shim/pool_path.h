// A connect() with a source port from the pool.
#pragma once

#include "portpool/segment.h"
#include "shim/call.h"

namespace portpool::shim {

inline Strategy strategy_in_force(const SegmentView& view) {
  return Control::unpack(view.header().control.load(std::memory_order_relaxed)).strategy;
}

// Claims, pins and connects, over as many ports and lanes as it takes. True: the call is finished,
// its result is in `result` and errno. False: the socket is as before, and the kernel's path has to
// be taken because of `why`.
bool connect_by_pool(const Call& call, SocketState& state, const SegmentView& view, int& result,
                     FallbackReason& why);

// For a call that is only watched: asks for the lane that it would take a port from, so that
// `poold status` and the metrics show how full the destination is.
void keep_lane(const Call& call, const SocketState& state, const SegmentView& view);

// With the bind strategy, after the kernel's own choice failed with EADDRNOTAVAIL for want of a
// lane: that choice passes over every port that a pool has bound, for whatever destination
// (__inet_hash_connect), and natively there would be one. Waits for the lane, 20 ms at most.
bool connect_when_lane_comes(const Call& call, SocketState& state, const SegmentView& view,
                             int& result);

// The same for a socket that keeps its port from an earlier attempt.
int connect_stuck(const Call& call, SocketState& state);

}  // namespace portpool::shim
