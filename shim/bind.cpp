// bind(address, 0) takes no port: the address is fixed, the port is left to connect() or listen()
// (IP_BIND_ADDRESS_NO_PORT, ip(7)). When the program asks for the port it is told one that was
// promised to it (promise.h), or the bind is made real.
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "portpool/endpoint.h"
#include "portpool/linux.h"
#include "portpool/system_call.h"
#include "shim/attach.h"
#include "shim/call.h"
#include "shim/calls.h"
#include "shim/process.h"
#include "shim/promise.h"
#include "shim/real.h"
#include "shim/record.h"
#include "shim/sockets.h"
#include "shim/user_memory.h"

namespace portpool::shim {
namespace {

bool set_no_port(int fd, int on) {
  return real().setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on) == 0;
}

bool defers_binds() {
  if (settings.mode != ProcessMode::pool) return false;
  FallbackReason why;
  const SegmentView* view = live_segment(now_ns(), why);
  if (view == nullptr) return false;
  const Control control = Control::unpack(view->header().control.load(std::memory_order_relaxed));
  return control.mode == Mode::pool || (control.mode == Mode::ab && control.arm == Route::pool);
}

// The port stands in the same place in addresses of both families (ip(7), ipv6(7)).
void set_port(sockaddr* address, std::uint16_t port) {
  const std::uint16_t raw = htons(port);
  std::memcpy(reinterpret_cast<char*>(address) + offsetof(sockaddr_in, sin_port), &raw, sizeof raw);
}

int remember(int fd, SocketState state, bool port_chosen, bool has_source) {
  state.own_port = port_chosen;
  state.has_source = has_source;
  set_socket_state(fd, state);
  return 0;
}

}  // namespace

int bind_call(int fd, const sockaddr* address, socklen_t length) {
  Endpoint wanted;
  SocketState state = socket_state(fd);
  if (!is_active() || state.kind == SocketKind::other || length < sizeof(sockaddr_in) ||
      length > sizeof(sockaddr_storage) || !is_readable(address, length) ||
      !endpoint_from_sockaddr(address, length, wanted)) {
    return real().bind(fd, address, length);
  }
  if (state.kind == SocketKind::unknown && wanted.port == 0) {
    const ErrnoKeeper keep;
    state = examine_socket(fd, 0);
  }
  if (wanted.port != 0) make_promise_real(wanted.port);
  if (state.kind != SocketKind::tcp) return real().bind(fd, address, length);
  if (state.pinned && !state.stuck) {
    // The attempt may be over by now: then a port is the program's to choose again.
    const ErrnoKeeper keep;
    if (is_closed_tcp(fd)) end_attempt(fd, address->sa_family, state);
  }
  if (state.deferred) {
    // To the program the socket is bound: the kernel shall refuse the second bind as it always
    // does.
    const ErrnoKeeper keep;
    SocketState bound = state;
    const Promise promise = take_promise(bound);
    if (make_real(fd, bound, promise) == 0 || make_real(fd, bound, {}) == 0) {
      set_socket_state(fd, bound);
      state = bound;
    }
  }
  const bool open_port = wanted.port == 0 && !state.own_port && !state.started;
  bool deferring = false;
  if (open_port && !state.own_no_port && !state.own_range) {
    const ErrnoKeeper keep;
    deferring = defers_binds() && is_tcp(fd) && set_no_port(fd, 1);
    if (deferring) set_port_range(fd, kDeferredMark);
  }
  const int result = real().bind(fd, address, length);
  if (deferring) {
    // Looked at by bind() alone (__inet_bind): the program does not see it, nor do accepted sockets
    // inherit it.
    const ErrnoKeeper keep;
    set_no_port(fd, 0);
    if (result != 0) set_port_range(fd, 0);
  }
  if (result != 0) return result;
  const bool left_open = open_port && (deferring || state.own_no_port);
  state.deferred = deferring;
  state.forget_port();
  if (deferring) count(mapped_segment(), Counter::k_binds_deferred);
  return remember(fd, state, !left_open, left_open && !is_unspecified(wanted.address));
}

int getsockname_call(int fd, sockaddr* address, socklen_t* length) {
  SocketState state = socket_state(fd);
  const bool unknown = state.kind == SocketKind::unknown;
  if (!is_active() || (!state.deferred && !unknown) || !is_readable(length, sizeof *length)) {
    return real().getsockname(fd, address, length);
  }
  const socklen_t room = *length;
  const int result = real().getsockname(fd, address, length);
  if (result != 0) return result;
  Endpoint local;
  const ErrnoKeeper keep;
  // What the program's buffer cannot hold, or a port that is there already, needs nothing from us.
  if (!endpoint_from_sockaddr(address, room < *length ? room : *length, local) || local.port != 0) {
    return result;
  }
  if (unknown) state = examine_socket(fd, 0);
  if (!state.deferred) return result;
  if (state.is_promised() || (!unknown && promise_port(fd, state))) {
    set_port(address, state.port);
    return result;
  }
  if (make_real(fd, state, {}) != 0) return result;
  if (!unknown) set_socket_state(fd, state);
  *length = room;
  return real().getsockname(fd, address, length);
}

int listen_call(int fd, int backlog) {
  SocketState state = socket_state(fd);
  if (!is_active() || !state.deferred || state.started || !is_tcp(fd)) {
    return real().listen(fd, backlog);
  }
  const int errno_before = errno;
  const Promise promise = take_promise(state);
  if (promise.port != 0) {
    const int error = make_real(fd, state, promise);
    errno = error;
    if (error != 0 && error != EINVAL) return -1;
  } else {
    // The mark would pass to accepted sockets.
    set_port_range(fd, 0);
  }
  errno = errno_before;
  const int result = real().listen(fd, backlog);
  const ErrnoKeeper keep;
  if (result == 0) {
    state.deferred = false;
    remember(fd, state, true, false);
  } else if (promise.port == 0) {
    set_port_range(fd, kDeferredMark);
  } else {
    set_socket_state(fd, state);
  }
  return result;
}

}  // namespace portpool::shim
