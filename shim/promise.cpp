#include "shim/promise.h"

#include <atomic>
#include <cerrno>

#include "portpool/lane.h"
#include "shim/attach.h"
#include "shim/call.h"
#include "shim/lanes.h"
#include "shim/process.h"
#include "shim/real.h"
#include "shim/record.h"
#include "shim/strategy.h"

namespace portpool::shim {
namespace {

// Ports drawn, where none is left that nobody has, for one that is not closed to all.
constexpr int kDraws = 16;

std::atomic<bool> any_promised;

// As bind() would choose: of the parity that connect() leaves to it.
bool choose(const SegmentView& view, LaneRef ref, Port& out) {
  std::uint64_t random = random_at(now_ns());
  const Claim claimed = claim_port(view, ref, Offer::any, other(first_parity(view)), random, out);
  if (claimed == Claim::port) return true;
  LaneIdentity lane;
  if (claimed != Claim::empty || !read_lane(view, ref, lane)) return false;
  // All that poold knows to be free are promised. It may be taken twice, toward two destinations.
  const PortMap blocked = port_map(view.lane_hints(ref.index), PortMapId::blocked);
  for (int draw = 0; draw < kDraws; ++draw, random = detail::next_random(random)) {
    const auto number =
        static_cast<std::uint16_t>(lane.ports.low + (random >> 32) % lane.ports.size());
    if (!has_port(blocked, number) && Port::check(number, lane.ports, out)) return true;
  }
  return false;
}

bool has_lane(const SegmentView& view, const Address& source, LaneRef& out) {
  const LaneKey key = promises_of(source);
  LaneChoice choice;
  if (!find_lanes(view, key, choice)) {
    request_lane(view, key);
    return false;
  }
  if (choice.count == 0 || !view.has_lane(choice.lanes[0].index)) return false;
  out = choice.lanes[0];
  return true;
}

constexpr std::uint32_t range_of(std::uint16_t port) { return PortRange{port, port}.pack(); }

}  // namespace

bool promise_port(int fd, SocketState& state) {
  FallbackReason why;
  const SegmentView* view = live_segment(now_ns(), why);
  OwnAddress own;
  LaneRef lane;
  Port port;
  if (view == nullptr || !is_tcp(fd) || !own_address(fd, own) || own.endpoint.port != 0 ||
      is_link_local_v6(own.endpoint.address) || !has_lane(*view, own.endpoint.address, lane) ||
      !choose(*view, lane, port)) {
    return false;
  }
  mark_used(*view, view->lane_hints(lane.index));
  // By bind() the connect() has it all the same, otherwise only where the socket is held to it.
  if (!set_port_range(fd, range_of(port.number())) && attached_strategy() != Strategy::bind) {
    give_back(*view, lane, port.number(), Release::free);
    return false;
  }
  state.lane = lane.pack();
  state.port = port.number();
  set_socket_state(fd, state);
  any_promised.store(true, std::memory_order_relaxed);
  count(view, Counter::k_ports_promised);
  return true;
}

Promise take_promise(SocketState& state) {
  if (!state.is_promised()) return {};
  const Promise promise{state.port, state.lane_ref()};
  state.forget_port();
  return promise;
}

void redeem(int fd, SocketState& state, const Promise& promise, int error) {
  const SegmentView* view = mapped_segment();
  OwnAddress own;
  if (!is_under_way(error) && own_address(fd, own) && own.endpoint.port == 0) {
    state.lane = promise.lane.pack();
    state.port = promise.port;
    set_port_range(fd, range_of(promise.port));
    set_socket_state(fd, state);
    return;
  }
  if (view == nullptr) return;
  // In use by this socket, perhaps: poold finds out.
  give_back(*view, promise.lane, promise.port, Release::quarantine);
  if (state.pinned && state.port != promise.port) count(view, Counter::k_promises_broken);
}

int make_real(int fd, SocketState& state, const Promise& promise) {
  OwnAddress own;
  if (!is_tcp(fd) || !own_address(fd, own) || own.endpoint.port != 0) return EINVAL;
  const std::uint32_t range = port_range_of(fd);
  if (promise.port == 0) {
    set_port_range(fd, 0);
  } else if (range != range_of(promise.port)) {
    // A kernel without the option, or the program has set one since.
    const int family = own.raw.ss_family;
    own.length = sockaddr_from_endpoint({own.endpoint.address, promise.port}, family, own.raw);
  }
  if (real().bind(fd, reinterpret_cast<sockaddr*>(&own.raw), own.length) != 0) {
    const int error = errno;
    // A bind() that fails for want of a port takes the address away too (__inet_bind).
    if (!is_unspecified(own.endpoint.address)) {
      bind_source(fd, own.raw.ss_family, own.endpoint.address);
    }
    if (promise.port == 0) set_port_range(fd, range);
    return error;
  }
  const SegmentView* view = mapped_segment();
  if (!state.own_range) set_port_range(fd, 0);
  if (view != nullptr && promise.port != 0) {
    give_back(*view, promise.lane, promise.port, Release::quarantine);
  }
  state.forget_port();
  state.deferred = false;
  state.own_port = true;
  state.has_source = false;
  count(view, Counter::k_binds_made_real);
  return 0;
}

void make_promise_real(std::uint16_t port) {
  if (!any_promised.load(std::memory_order_relaxed)) return;
  const int fd = find_promise(port);
  if (fd < 0) return;
  const ErrnoKeeper keep;
  SocketState state = socket_state(fd);
  const Promise promise = take_promise(state);
  if (make_real(fd, state, promise) == 0) set_socket_state(fd, state);
}

}  // namespace portpool::shim
