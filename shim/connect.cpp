// The life of a connect(): docs/connect.md tells it in words.
#include <cerrno>

#include "portpool/endpoint.h"
#include "portpool/port_rules.h"
#include "portpool/segment.h"
#include "shim/attach.h"
#include "shim/call.h"
#include "shim/calls.h"
#include "shim/filter.h"
#include "shim/kernel_path.h"
#include "shim/lanes.h"
#include "shim/pool_path.h"
#include "shim/process.h"
#include "shim/promise.h"
#include "shim/real.h"
#include "shim/record.h"
#include "shim/sockets.h"
#include "shim/strategy.h"
#include "shim/trace.h"
#include "shim/user_memory.h"

namespace portpool::shim {
namespace {

PortRange required_of(const SegmentView* view, const Endpoint& destination) {
  return view != nullptr ? required_range(*view, destination) : PortRange{};
}

// missed: what the pool said before, in the segment `view`; null for a call that never was the
// pool's. required: the range that it must not leave, or an empty one.
int by_kernel(const Call& call, SocketState& state, const SegmentView* view, const Miss* missed,
              PortRange required) {
  const int errno_before = errno;
  int result = connect_by_kernel(call, state, required);
  if (errno_of(result) == EADDRNOTAVAIL && attached_strategy() == Strategy::bind) {
    if (missed != nullptr && connect_after_kernel(call, state, *view, result)) {
      if (result == 0) errno = errno_before;
      return result;
    }
    errno = EADDRNOTAVAIL;
    if (!required.empty()) result = connect_bound_within(required, call, state);
  }
  if (errno_of(result) == EADDRNOTAVAIL) result = connect_though_held(call, state, required);
  if (missed != nullptr) {
    count(view, missed->why);
    if (missed->lane.generation != 0 && is_under_way(errno_of(result))) {
      learn_from_kernel(call, *view, *missed);
    }
  }
  if (result == 0) errno = errno_before;
  const int error = errno_of(result);
  state.started = is_under_way(error);
  if (state.started) set_socket_state(call.fd, state);
  record_call(call, state, Route::kernel, error);
  if (!state.started && state.pool_source) {
    const ErrnoKeeper keep;
    unbind_source(call.fd, call.family());
  }
  return result;
}

// What is no address at all, or cannot be read, is the kernel's to refuse, in its own order of
// errors.
bool may_be_read(const sockaddr* address, socklen_t length) {
  return address != nullptr && length >= sizeof address->sa_family &&
         length <= sizeof(sockaddr_storage) && is_readable(address, length);
}

// Of a call on a socket that is connecting or connected. A call that was refused for its own
// arguments leaves the connection as it is.
bool ends_attempt(int error) {
  return !is_under_way(error) && error != EFAULT && error != EINVAL && error != EBADF &&
         error != ENOTSOCK;
}

// A call on a socket that is connecting or connected: asks how it went, or is refused.
int continue_call(int fd, const sockaddr* address, socklen_t length, const Endpoint& destination,
                  SocketState state) {
  if (state.pinned && !state.stuck && is_closed_tcp(fd)) {
    // Refused, which this call tells; or given up by shutdown(), and then this one begins anew.
    end_attempt(fd, address->sa_family, state);
    const KernelRange narrowed(fd, required_of(mapped_segment(), destination));
    const int result = real().connect(fd, address, length);
    state.started = is_under_way(errno_of(result));
    if (state.started) set_socket_state(fd, state);
    return result;
  }
  const int result = real().connect(fd, address, length);
  if (ends_attempt(errno_of(result))) end_attempt(fd, address->sa_family, state);
  return result;
}

// connect() to AF_UNSPEC dissolves the connection (connect(2)); the socket may be used again.
int disconnect_call(int fd, const sockaddr* address, socklen_t length, SocketState state) {
  const int result = real().connect(fd, address, length);
  if (result == 0 && state.kind == SocketKind::tcp) {
    const ErrnoKeeper keep;
    OwnAddress own;
    own_address(fd, own);
    end_attempt(fd, own.raw.ss_family, state);
  }
  return result;
}

// One call of 16, picked by the nanosecond in which it came.
bool is_sampled(std::uint64_t start_ns) { return start_ns * 0x9E3779B97F4A7C15ULL >> 60 == 0; }

void assign_arm(Call& call, const SegmentView& view) {
  const Control control = Control::unpack(view.header().control.load(std::memory_order_relaxed));
  const bool observed = settings.mode == ProcessMode::observe || control.mode == Mode::observe;
  call.arm = observed ? Route::kernel : control.mode == Mode::ab ? control.arm : Route::pool;
  if (control.mode != Mode::ab || !is_sampled(call.start_ns)) return;
  call.cpu_sampled = true;
  call.cpu_start_ns = thread_cpu_ns();
}

// Fills `state` for a descriptor that did not come from our socket(). False: nothing for us.
bool learn_socket(int fd, SocketState& state) {
  const SegmentView* view = mapped_segment();
  const ErrnoKeeper keep;
  errno = 0;
  // Also without a segment: a pin of ours may have come with the descriptor.
  state = examine_socket(fd, view != nullptr ? view->network_namespace().cookie : 0);
  if (view == nullptr) return false;
  // What is no socket gets its error from the real call; anything else keeps us from looking.
  if (state.kind == SocketKind::unknown && errno != EBADF && errno != ENOTSOCK) {
    count(view, FallbackReason::k_unusual_socket);
  }
  if (state.kind != SocketKind::tcp) return false;
  set_socket_state(fd, state);
  return true;
}

// Before a pin is taken away. Any other range is the program's own, and stays: set through another
// descriptor, or of another socket that has the number now. Then the socket is looked at anew.
bool attempt_left_pin(int fd, SocketState& state) {
  if (has_range(fd, PortRange{state.port, state.port}.pack())) return true;
  const SegmentView* view = mapped_segment();
  state = examine_socket(fd, view != nullptr ? view->network_namespace().cookie : 0);
  return false;
}

// Natively the socket has its port from bind() on, and no range narrows it; and from there it may
// well connect to itself.
bool needs_promised_port(const Call& call, const SocketState& state) {
  if (call.promise.port == 0) return false;
  if (state.own_range) return true;
  OwnAddress own;
  return call.promise.port == call.destination.port && own_address(call.fd, own) &&
         own.endpoint.address == call.destination.address;
}

// A socket that is neither connecting nor connected, in a program that we serve.
int connect_anew(Call& call, SocketState& state) {
  if (needs_promised_port(call, state)) {
    const ErrnoKeeper keep;
    make_real(call.fd, state, call.promise);
  }
  FallbackReason why = FallbackReason::k_other_netns;
  const SegmentView* view = state.foreign ? nullptr : live_segment(call.start_ns, why);
  if (view != nullptr) assign_arm(call, *view);
  Miss miss;
  const Miss* missed = nullptr;
  PortRange required;
  const SegmentView* watched = nullptr;
  const int errno_before = errno;
  if (state.own_port) {
    count(mapped_segment(), Counter::k_passthrough_own_port);
    call.why = TraceWhy::own_port;
  } else if (view == nullptr) {
    if (!state.foreign && !state.own_range)
      required = required_of(mapped_segment(), call.destination);
    count(mapped_segment(), why);
    call.why = trace_why(why);
  } else if (call.arm == Route::pool) {
    int result = -1;
    if (connect_by_pool(call, state, *view, Sharing::where_crowded, result, miss)) {
      if (result == 0) errno = errno_before;
      return result;
    }
    missed = &miss;
    if (!state.own_range) required = required_of(view, call.destination);
    call.why = trace_why(miss.why);
  } else {
    watched = view;
  }
  errno = errno_before;
  const int result = by_kernel(call, state, view, missed, required);
  if (watched != nullptr) {
    const ErrnoKeeper keep;
    keep_lane(call, state, *watched);
  }
  return result;
}

}  // namespace

void record_call(const Call& call, const SocketState& state, Route path, int error) {
  const SegmentView* view = mapped_segment();
  ConnectRecord done{call.arm, path, !state.nonblocking && error != EINPROGRESS, error,
                     now_ns() - call.start_ns};
  if (call.cpu_sampled) {
    done.cpu_sampled = true;
    done.cpu_ns = thread_cpu_ns() - call.cpu_start_ns;
  }
  record(view, done);
  if (view != nullptr && is_traced(*view)) trace_call(*view, call, state, done);
}

void end_attempt(int fd, int family, SocketState& state) {
  const ErrnoKeeper keep;
  if (state.pinned && !state.stuck) {
    give_back(state, Release::free);
    const bool ours = !state.own_range && attempt_left_pin(fd, state);
    state.forget_port();
    if (ours) pin_strategy(Strategy::port_range).unpin(fd);
  }
  if (state.pool_source && is_tcp(fd)) unbind_source(fd, family);
  state.started = false;
  set_socket_state(fd, state);
}

int connect_call(int fd, const sockaddr* address, socklen_t length) {
  SocketState state = socket_state(fd);
  if (!is_active()) return connect_passed_on(fd, address, length, state);
  if (state.kind == SocketKind::other || !may_be_read(address, length)) {
    return real().connect(fd, address, length);
  }
  if (address->sa_family == AF_UNSPEC) return disconnect_call(fd, address, length, state);
  Endpoint destination;
  if (!endpoint_from_sockaddr(address, length, destination) || destination.port == 0) {
    return real().connect(fd, address, length);
  }
  if (state.started) return continue_call(fd, address, length, destination, state);

  Call call{fd, address, length, destination, now_ns(), Route::pool};
  // Right after its socket() the word needs no proof: that would be some 3 % of a connect().
  if (state.kind == SocketKind::tcp && fd != newest_socket.load(std::memory_order_relaxed) &&
      !is_tcp(fd)) {
    state = SocketState{};
  }
  if (state.kind == SocketKind::unknown && !learn_socket(fd, state)) {
    return real().connect(fd, address, length);
  }
  if (state.stuck) return connect_stuck(call, state);
  call.promise = take_promise(state);
  const int result = connect_anew(call, state);
  if (call.promise.port != 0) {
    const ErrnoKeeper keep;
    redeem(fd, state, call.promise, errno_of(result));
  }
  return result;
}

}  // namespace portpool::shim
