// A call's entry in the segment's trace, while somebody listens (portpool/trace.h).
#pragma once

#include <cstdint>

#include "portpool/trace.h"
#include "shim/call.h"
#include "shim/record.h"

namespace portpool::shim {

// With the first socket: learns the process's pid and name, so that later calls need not ask (a
// sandboxed program may not be allowed to).
void start_trace();

// The process that this memory belongs to, by its own pid namespace; 0: not known, or a child of
// fork() that has not been traced.
std::uint32_t known_pid();

// Leaves the entry; where the daemon's heartbeat has stopped, nothing. Leaves errno alone.
void trace_call(const SegmentView& view, const Call& call, const SocketState& state,
                const ConnectRecord& done);

}  // namespace portpool::shim
