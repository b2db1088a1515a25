// A connect() with a source port from the pool.
#pragma once

#include "portpool/segment.h"
#include "shim/call.h"

namespace portpool::shim {

// Claims, pins and connects, over as many ports and lanes as it takes. True: the call is finished,
// its result is in `result` and errno. False: the socket is as before, and the kernel's path has to
// be taken because of `why`.
bool connect_by_pool(const Call& call, SocketState& state, const SegmentView& view, int& result,
                     FallbackReason& why);

// The same for a socket that keeps its port from an earlier attempt.
int connect_stuck(const Call& call, SocketState& state);

}  // namespace portpool::shim
