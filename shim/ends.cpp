#include "shim/ends.h"

#include <sys/syscall.h>

#include "portpool/lane.h"
#include "portpool/linux.h"
#include "portpool/system_call.h"
#include "shim/lanes.h"
#include "shim/process.h"
#include "shim/sockets.h"
#include "shim/tuple.h"

namespace portpool::shim {
namespace {

// False when it cannot be read: the attempt is over.
bool peer_of(int fd, int family, Endpoint& out) {
  sockaddr_storage raw{};
  // Refused when longer than the address (sk_getsockopt).
  socklen_t length = family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
  return system_call(SYS_getsockopt, fd, SOL_SOCKET, SO_PEERNAME, &raw, &length) == 0 &&
         endpoint_from_sockaddr(reinterpret_cast<sockaddr*>(&raw), length, out);
}

// No connection has these ends though the socket is open: it has others.
bool is_absent(int fd, const Endpoint& local, const Endpoint& remote) {
  return !has_own_route(fd) && TupleQuestions().ask(local, remote) == TupleUse::none &&
         !is_closed_tcp(fd);
}

}  // namespace

Ends ends_of(int fd, const LaneKey& lane, bool thorough) {
  const ErrnoKeeper keep;
  OwnAddress own;
  if (!own_address(fd, own) || own.endpoint.port == 0) return Ends::of_lane;
  Endpoint peer;
  const Endpoint destination = destination_of(lane);
  if (!peer_of(fd, own.raw.ss_family, peer)) return Ends::of_lane;
  if (peer != destination) return Ends::other_destination;
  if (own.endpoint.address != lane.source) return Ends::other_source;
  return thorough && is_absent(fd, own.endpoint, destination) ? Ends::other_destination
                                                              : Ends::of_lane;
}

void report_rewritten(const SegmentView& view, LaneRef lane) {
  if (!in_service(view, lane)) return;
  view.lane_hints(lane.index).rewritten.fetch_add(1, std::memory_order_relaxed);
  ask_attention(view, lane);
}

}  // namespace portpool::shim
