// A connect() with a source port from the pool.
#pragma once

#include "portpool/segment.h"
#include "shim/call.h"
#include "shim/question.h"

namespace portpool::shim {

// Why the pool did not finish a call, and what the kernel's answer to it will be good for.
struct Miss {
  FallbackReason why = FallbackReason::k_no_lane;
  // The lane that was full or refused, for a socket that was to leave from its source; else none.
  LaneRef lane;
  SourceBy by = SourceBy::route;
  // fail-fast: the call is the one that asks the kernel whether the lane still is full.
  bool probes = false;
};

enum class Sharing {
  where_crowded,  // bind strategy: a port may be shared where poold says that hardly one is alone
  allowed,        // the kernel's own choice has failed
};

// Claims, pins and connects, over as many ports and lanes as it takes. True: the call is finished,
// its result is in `result` and errno. False: the socket is as before, and the kernel's path has to
// be taken because of `miss`.
bool connect_by_pool(const Call& call, SocketState& state, const SegmentView& view, Sharing sharing,
                     int& result, Miss& miss);

// For a call that is only watched: asks for the lane that it would take a port from, so that
// `poold status` and the metrics show how full the destination is.
void keep_lane(const Call& call, const SocketState& state, const SegmentView& view);

// With the bind strategy, after the kernel's own choice failed with EADDRNOTAVAIL: that choice
// passes over every port that a pool has bound, for whatever destination (__inet_hash_connect), and
// natively there would be one. Shares a port; without a lane it waits for one, 20 ms at most.
bool connect_after_kernel(const Call& call, SocketState& state, const SegmentView& view,
                          int& result);

// The kernel gave a port though miss.lane was full or refused: was it that lane's at all? If so,
// and it is marked full, nobody fails fast on it until poold has looked again.
void learn_from_kernel(const Call& call, const SegmentView& view, const Miss& miss);

// The same for a socket that keeps its port from an earlier attempt.
int connect_stuck(const Call& call, SocketState& state);

}  // namespace portpool::shim
