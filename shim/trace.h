// A call's entry in the segment's trace, while somebody listens (portpool/trace.h).
#pragma once

#include "portpool/trace.h"
#include "shim/call.h"
#include "shim/record.h"

namespace portpool::shim {

// Leaves the entry; where the daemon's heartbeat has stopped, nothing. Leaves errno alone.
void trace_call(const SegmentView& view, const Call& call, const SocketState& state,
                const ConnectRecord& done);

}  // namespace portpool::shim
