#include "shim/trace.h"

#include "portpool/lane.h"
#include "shim/attach.h"
#include "shim/identity.h"
#include "shim/process.h"

namespace portpool::shim {
namespace {

void identify(TraceRecord& record) {
  const Name name = own_name();
  record.pid = name.pid;
  for (int i = 0; i < 2; ++i) record.comm.words[i] = name.comm[i];
}

// The address and port that the call used. After a failed attempt the socket has none any more:
// those of the lane.
Endpoint source_of(const SegmentView& view, const Call& call, const SocketState& state) {
  OwnAddress own;
  own_address(call.fd, own);
  const Endpoint& source = own.endpoint;
  LaneIdentity lane;
  if (!state.pinned || !read_lane(view, state.lane_ref(), lane)) return source;
  return {is_unspecified(source.address) ? lane.key.source : source.address, state.port};
}

}  // namespace

__attribute__((noinline, cold)) void trace_call(const SegmentView& view, const Call& call,
                                                const SocketState& state,
                                                const ConnectRecord& done) {
  if (!heartbeat_moves(view, call.start_ns + done.ns) || !view.has_trace()) return;
  const ErrnoKeeper keep;
  TraceRecord record;
  record.started_ns = clock_ns(CLOCK_REALTIME) - done.ns;
  record.duration_ns = done.ns;
  identify(record);
  record.source = source_of(view, call, state);
  record.destination = call.destination;
  record.error = done.error;
  record.arm = done.arm;
  record.path = done.path;
  record.blocking = done.blocking;
  record.why = call.why;
  write_trace(view, record);
}

}  // namespace portpool::shim
