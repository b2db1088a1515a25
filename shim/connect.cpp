// The life of a connect(): docs/connect.md tells it in words.
#include <cerrno>

#include "portpool/endpoint.h"
#include "portpool/port_map.h"
#include "portpool/segment.h"
#include "shim/attach.h"
#include "shim/calls.h"
#include "shim/lanes.h"
#include "shim/process.h"
#include "shim/real.h"
#include "shim/record.h"
#include "shim/sockets.h"
#include "shim/strategy.h"

namespace portpool::shim {
namespace {

// A lane in which this many claims in a row are refused is wrong as a whole, and will be
// reconciled; 16 refusals cost about 10 us, a tenth of what the kernel's search costs past its
// cliff.
constexpr int kMaxRejections = 16;

struct Call {
  int fd;
  const sockaddr* address;
  socklen_t length;
  std::uint64_t start_ns;
  Route arm;
};

// The error says that the connection was begun, or stands: it is not an attempt that failed.
bool is_under_way(int error) {
  return error == 0 || error == EINPROGRESS || error == EINTR || error == EALREADY ||
         error == EISCONN;
}

int errno_of(int result) { return result == 0 ? 0 : errno; }

void record_call(const Call& call, const SocketState& state, Route path, int error) {
  record(mapped_segment(), {call.arm, path, !state.nonblocking && error != EINPROGRESS, error,
                            now_ns() - call.start_ns});
}

int by_kernel(const Call& call, SocketState& state) {
  const int result = real().connect(call.fd, call.address, call.length);
  const int error = errno_of(result);
  if (is_under_way(error)) {
    state.started = true;
    set_socket_state(call.fd, state);
  }
  record_call(call, state, Route::kernel, error);
  return result;
}

// The attempt is over and the kernel has let go of the port.
void end_attempt(int fd, SocketState& state) {
  if (state.pinned) {
    give_back(state, Release::free);
    if (const PinStrategy* strategy = pin_strategy(Strategy::port_range)) strategy->unpin(fd);
  }
  state.pinned = false;
  state.started = false;
  set_socket_state(fd, state);
}

// A call on a socket that is connecting or connected: asks how it went, or is refused.
int continue_call(int fd, const sockaddr* address, socklen_t length, SocketState state) {
  const int result = real().connect(fd, address, length);
  if (!is_under_way(errno_of(result))) {
    const ErrnoKeeper keep;
    end_attempt(fd, state);
  }
  return result;
}

// connect() to AF_UNSPEC dissolves the connection (connect(2)); the socket may be used again.
int disconnect_call(int fd, const sockaddr* address, socklen_t length, SocketState state) {
  const int result = real().connect(fd, address, length);
  if (result == 0 && state.kind == SocketKind::tcp) {
    const ErrnoKeeper keep;
    end_attempt(fd, state);
  }
  return result;
}

enum class Outcome { finished, rejected, unsupported };

// One claimed port, tried. On `finished` the call's result is in `result` and errno.
Outcome try_port(const Call& call, SocketState& state, const SegmentView& view,
                 const PinStrategy& strategy, int& result) {
  if (strategy.pin(call.fd, state.port) == PinResult::unsupported) {
    give_back(view, state.lane, state.port, Release::free);
    return Outcome::unsupported;
  }
  state.pinned = true;
  state.started = true;
  // Before the call: a thread cancelled in it leaves the port to close().
  set_socket_state(call.fd, state);
  result = real().connect(call.fd, call.address, call.length);
  const int error = errno_of(result);
  if (error == EADDRNOTAVAIL) {
    give_back(view, state.lane, state.port, Release::rejected);
    state.pinned = false;
    state.started = false;
    return Outcome::rejected;
  }
  record_call(call, state, Route::pool, error);
  if (error == EISCONN || error == EALREADY) {
    // Connected behind our back: the port that it has is not ours.
    give_back(view, state.lane, state.port, Release::free);
    state.pinned = false;
    set_socket_state(call.fd, state);
  } else if (!is_under_way(error)) {
    const ErrnoKeeper keep;
    end_attempt(call.fd, state);
  }
  return Outcome::finished;
}

// Tries the lanes in order. True when the call is finished; else `why` says what was in the way.
bool by_pool(const Call& call, SocketState& state, const SegmentView& view,
             const LaneChoice& choice, const PinStrategy& strategy, int& result,
             FallbackReason& why) {
  why = FallbackReason::k_lane_full;
  std::uint64_t random = random_at(call.start_ns);
  int rejections = 0;
  for (std::uint32_t i = 0; i < choice.count && i < kLanesPerEntry; ++i) {
    Lane& lane = view.lane(choice.lanes[i]);
    for (;;) {
      const int port = claim(lane, random);
      if (port < 0) {
        lane.exhausted.fetch_add(1, std::memory_order_relaxed);
        break;
      }
      state.lane = choice.lanes[i];
      state.port = static_cast<std::uint16_t>(port);
      state.epoch = attach_epoch();
      const Outcome outcome = try_port(call, state, view, strategy, result);
      if (outcome == Outcome::finished) return true;
      why =
          outcome == Outcome::rejected ? FallbackReason::k_rejected : FallbackReason::k_pin_failed;
      if (outcome == Outcome::unsupported) return false;
      if (++rejections == kMaxRejections) break;
      random = detail::next_random(random);
    }
    if (rejections == kMaxRejections) break;
  }
  if (rejections > 0) {
    strategy.unpin(call.fd);
    set_socket_state(call.fd, state);
  }
  return false;
}

// The question to the directory: which lanes may this call use?
bool lane_key(const Call& call, const SocketState& state, LaneKey& key) {
  Endpoint destination;
  if (!endpoint_from_sockaddr(call.address, call.length, destination)) return false;
  key = {{}, destination.address, destination.port};
  if (state.has_source) {
    sockaddr_storage bound{};
    socklen_t length = sizeof bound;
    Endpoint local;
    if (real().getsockname(call.fd, reinterpret_cast<sockaddr*>(&bound), &length) != 0 ||
        !endpoint_from_sockaddr(reinterpret_cast<sockaddr*>(&bound), length, local)) {
      return false;
    }
    key.source = local.address;
  }
  // To an unspecified address means to this host (tcp_v4_connect, tcp_v6_connect); from a bound
  // socket it means to that socket's own address, which nobody does.
  if (is_unspecified(key.destination) && !state.has_source) {
    key.destination = loopback_like(key.destination);
  }
  return !is_unspecified(key.destination) && !is_link_local_v6(key.destination);
}

const SegmentView* segment_for(const Call& call, const SocketState& state, FallbackReason& why) {
  const SegmentView* view = live_segment(call.start_ns, why);
  if (view != nullptr && state.foreign) {
    why = FallbackReason::k_other_netns;
    return nullptr;
  }
  return view;
}

// Decides, and either finishes the call by the pool or says why the kernel has to.
bool pool_finishes(const Call& call, SocketState& state, const SegmentView& view, int& result,
                   FallbackReason& why) {
  const Control control = Control::unpack(view.header().control.load(std::memory_order_relaxed));
  const PinStrategy* strategy = pin_strategy(control.strategy);
  LaneKey key;
  LaneChoice choice;
  if (strategy == nullptr) {
    why = FallbackReason::k_pin_failed;
  } else if (state.own_range) {
    why = FallbackReason::k_own_port_range;
  } else if (!lane_key(call, state, key)) {
    why = FallbackReason::k_unusual_address;
  } else if (!find_lanes(view, key, choice)) {
    request_lane(view, key);
    why = FallbackReason::k_no_lane;
  } else if (choice.count == 0) {
    why = FallbackReason::k_lane_refused;
  } else {
    return by_pool(call, state, view, choice, *strategy, result, why);
  }
  return false;
}

Route assigned_arm(const SegmentView& view) {
  const Control control = Control::unpack(view.header().control.load(std::memory_order_relaxed));
  if (settings.mode == ProcessMode::observe || control.mode == Mode::observe) return Route::kernel;
  return control.mode == Mode::ab ? control.arm : Route::pool;
}

}  // namespace

int connect_call(int fd, const sockaddr* address, socklen_t length) {
  SocketState state = socket_state(fd);
  if (settings.mode == ProcessMode::off || state.kind == SocketKind::other || address == nullptr ||
      length < sizeof address->sa_family) {
    return real().connect(fd, address, length);
  }
  if (address->sa_family == AF_UNSPEC) return disconnect_call(fd, address, length, state);
  Endpoint destination;
  if (!endpoint_from_sockaddr(address, length, destination) || destination.port == 0) {
    return real().connect(fd, address, length);
  }
  if (state.started) return continue_call(fd, address, length, state);

  Call call{fd, address, length, now_ns(), Route::pool};
  FallbackReason why = FallbackReason::k_no_daemon;
  const int errno_before = errno;
  if (state.kind == SocketKind::unknown) {
    const SegmentView* view = mapped_segment();
    if (view == nullptr) return real().connect(fd, address, length);
    state = examine_socket(fd, view->network_namespace().cookie);
    if (state.kind != SocketKind::tcp) {
      errno = errno_before;
      return real().connect(fd, address, length);
    }
    set_socket_state(fd, state);
  }
  const SegmentView* view = segment_for(call, state, why);
  if (view != nullptr) call.arm = assigned_arm(*view);
  int result = -1;
  if (state.own_port) {
    count(view, Counter::k_passthrough_own_port);
  } else if (view == nullptr) {
    count(mapped_segment(), why);
  } else if (call.arm == Route::pool) {
    if (pool_finishes(call, state, *view, result, why)) {
      if (result == 0) errno = errno_before;
      return result;
    }
    count(view, why);
  }
  errno = errno_before;
  return by_kernel(call, state);
}

}  // namespace portpool::shim
