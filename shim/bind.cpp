// bind(address, 0) takes no port: the address is fixed, the port is left to connect() or listen()
// (IP_BIND_ADDRESS_NO_PORT, ip(7)). When the program asks for the port, the bind is made real.
#include <cerrno>

#include "portpool/endpoint.h"
#include "portpool/linux.h"
#include "portpool/system_call.h"
#include "shim/attach.h"
#include "shim/call.h"
#include "shim/calls.h"
#include "shim/process.h"
#include "shim/real.h"
#include "shim/record.h"
#include "shim/sockets.h"
#include "shim/user_memory.h"

namespace portpool::shim {
namespace {

bool set_no_port(int fd, int on) {
  return real().setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on) == 0;
}

// Fails on kernels without the option (before Linux 6.3), where it is only missed on descriptors
// that we do not know.
void set_mark(int fd, std::uint32_t range) {
  real().setsockopt(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, &range, sizeof range);
}

// Also on a descriptor that we have not seen bound (it came by dup, exec or SCM_RIGHTS).
bool has_mark(int fd) {
  std::uint32_t range = 0;
  socklen_t length = sizeof range;
  return system_call(SYS_getsockopt, fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, &range, &length) == 0 &&
         range == kDeferredMark;
}

// Binds once more, now with a port. Failing (no port free), the socket stays as it was.
bool make_real(int fd) {
  OwnAddress own;
  if (!is_tcp(fd) || !own_address(fd, own) || own.endpoint.port != 0) return false;
  const bool marked = has_mark(fd);
  if (marked) set_mark(fd, 0);
  if (real().bind(fd, reinterpret_cast<sockaddr*>(&own.raw), own.length) != 0) {
    if (marked) set_mark(fd, kDeferredMark);
    return false;
  }
  count(mapped_segment(), Counter::k_binds_made_real);
  return true;
}

bool defers_binds() {
  if (settings.mode != ProcessMode::pool) return false;
  FallbackReason why;
  const SegmentView* view = live_segment(now_ns(), why);
  if (view == nullptr) return false;
  const Control control = Control::unpack(view->header().control.load(std::memory_order_relaxed));
  return control.mode == Mode::pool || (control.mode == Mode::ab && control.arm == Route::pool);
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
  if (settings.mode == ProcessMode::off || state.kind == SocketKind::other ||
      length < sizeof(sockaddr_in) || length > sizeof(sockaddr_storage) ||
      !is_readable(address, length) || !endpoint_from_sockaddr(address, length, wanted)) {
    return real().bind(fd, address, length);
  }
  if (state.kind == SocketKind::unknown && wanted.port == 0) {
    const ErrnoKeeper keep;
    state = examine_socket(fd, 0);
    state.deferred = state.kind == SocketKind::tcp && has_mark(fd);
  }
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
    if (make_real(fd)) {
      state.deferred = false;
      remember(fd, state, true, false);
    }
  }
  const bool open_port = wanted.port == 0 && !state.own_port && !state.started;
  bool deferring = false;
  if (open_port && !state.own_no_port && !state.own_range) {
    const ErrnoKeeper keep;
    deferring = defers_binds() && is_tcp(fd) && set_no_port(fd, 1);
    if (deferring) set_mark(fd, kDeferredMark);
  }
  const int result = real().bind(fd, address, length);
  if (deferring) {
    // Looked at by bind() alone (__inet_bind): the program does not see it, nor do accepted sockets
    // inherit it.
    const ErrnoKeeper keep;
    set_no_port(fd, 0);
    if (result != 0) set_mark(fd, 0);
  }
  if (result != 0) return result;
  const bool left_open = open_port && (deferring || state.own_no_port);
  state.deferred = deferring;
  if (deferring) count(mapped_segment(), Counter::k_binds_deferred);
  return remember(fd, state, !left_open, left_open && !is_unspecified(wanted.address));
}

int getsockname_call(int fd, sockaddr* address, socklen_t* length) {
  SocketState state = socket_state(fd);
  const bool unknown = state.kind == SocketKind::unknown;
  if (settings.mode == ProcessMode::off || (!state.deferred && !unknown) ||
      !is_readable(length, sizeof *length)) {
    return real().getsockname(fd, address, length);
  }
  const socklen_t room = *length;
  const int result = real().getsockname(fd, address, length);
  if (result != 0) return result;
  Endpoint local;
  const ErrnoKeeper keep;
  // What the program's buffer cannot hold, or a port that is there already, needs nothing from us.
  if (!endpoint_from_sockaddr(address, room < *length ? room : *length, local) || local.port != 0 ||
      (unknown && !has_mark(fd)) || !make_real(fd)) {
    return result;
  }
  if (!unknown) {
    state.deferred = false;
    remember(fd, state, true, false);
  }
  *length = room;
  return real().getsockname(fd, address, length);
}

}  // namespace portpool::shim
