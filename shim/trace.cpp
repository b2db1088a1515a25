#include "shim/trace.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <atomic>
#include <bit>

#include "portpool/lane.h"
#include "portpool/system_call.h"
#include "shim/attach.h"
#include "shim/process.h"

namespace portpool::shim {
namespace {

// On a page that the kernel empties in a forked child (MADV_WIPEONFORK, Linux 4.14): a child finds
// pid 0 and asks anew, without any handler of fork(). Threads that ask at once store the same.
struct Identity {
  std::atomic<std::uint32_t> pid;
  std::atomic<std::uint64_t> comm[2];
};
std::atomic<Identity*> identity;

TraceComm own_comm() {
  char name[16] = {};
  system_call(SYS_prctl, PR_GET_NAME, name);
  return std::bit_cast<TraceComm>(name);
}

void identify(TraceRecord& record) {
  Identity* known = identity.load(std::memory_order_acquire);
  if (known != nullptr) {
    record.pid = known->pid.load(std::memory_order_acquire);
    if (record.pid != 0) {
      for (int i = 0; i < 2; ++i) {
        record.comm.words[i] = known->comm[i].load(std::memory_order_relaxed);
      }
      return;
    }
  }
  record.pid = static_cast<std::uint32_t>(system_call(SYS_getpid));
  record.comm = own_comm();
  if (known == nullptr) return;
  for (int i = 0; i < 2; ++i) {
    known->comm[i].store(record.comm.words[i], std::memory_order_relaxed);
  }
  known->pid.store(record.pid, std::memory_order_release);
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

void start_trace() {
  if (identity.load(std::memory_order_relaxed) != nullptr) return;
  const ErrnoKeeper keep;
  void* page =
      map_memory(sizeof(Identity), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  if (page == MAP_FAILED) return;
  if (system_call(SYS_madvise, page, sizeof(Identity), MADV_WIPEONFORK) != 0) {
    system_call(SYS_munmap, page, sizeof(Identity));
    return;
  }
  identity.store(static_cast<Identity*>(page), std::memory_order_release);
  TraceRecord own;
  identify(own);
}

std::uint32_t known_pid() {
  const Identity* known = identity.load(std::memory_order_acquire);
  return known != nullptr ? known->pid.load(std::memory_order_acquire) : 0;
}

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
