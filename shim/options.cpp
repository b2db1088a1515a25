// The calls that only tell us something about a socket: socket, setsockopt, fcntl, ioctl, and the
// two that move a process to another network namespace.
#include <fcntl.h>
#include <sched.h>
#include <sys/ioctl.h>

#include <cstring>

#include "portpool/linux.h"
#include "portpool/system_call.h"
#include "shim/attach.h"
#include "shim/calls.h"
#include "shim/lanes.h"
#include "shim/mapping.h"
#include "shim/process.h"
#include "shim/real.h"
#include "shim/sockets.h"

namespace portpool::shim {
namespace {

template <class Value>
bool read_value(const void* raw, socklen_t length, Value& value) {
  if (raw == nullptr || length < sizeof value) return false;
  std::memcpy(&value, raw, sizeof value);
  return true;
}

// Options that let the kernel take another route than for everybody.
bool chooses_route(int level, int name) {
  switch (level) {
    case SOL_SOCKET:
      return name == SO_MARK || name == SO_BINDTOIFINDEX;
    case IPPROTO_IPV6:
      return name == IPV6_ADDR_PREFERENCES;
    default:
      return false;
  }
}

// A program's own choice of option, as far as it changes what we may do with the socket.
bool learn_option(SocketState& state, int level, int name, const void* value, socklen_t length) {
  int number = 0;
  linger wait{};
  if (level == SOL_SOCKET && name == SO_LINGER) {
    if (!read_value(value, length, wait)) return false;
    state.reset_on_close = wait.l_onoff != 0 && wait.l_linger == 0;
    return true;
  }
  if (level == SOL_SOCKET && name == SO_BINDTODEVICE) {
    const auto* device = static_cast<const char*>(value);
    if (device == nullptr || length == 0 || *device == '\0') return false;
    state.own_route = true;
    return true;
  }
  // Only those that the kernel has read as an int: of another one the pointer may lead nowhere.
  const bool reuse = level == SOL_SOCKET && name == SO_REUSEADDR;
  const bool ports =
      level == IPPROTO_IP && (name == IP_LOCAL_PORT_RANGE || name == IP_BIND_ADDRESS_NO_PORT);
  if (!reuse && !ports && !chooses_route(level, name)) return false;
  if (!read_value(value, length, number)) return false;
  if (chooses_route(level, name)) {
    // Taken back, the socket still counts as the program's own affair.
    state.own_route |= number != 0;
    return true;
  }
  if (reuse) {
    state.own_reuse = number != 0;
    return true;
  }
  if (name == IP_LOCAL_PORT_RANGE) {
    state.own_range = number != 0;
    const PortRange range = PortRange::unpack(static_cast<std::uint32_t>(number));
    if (range.low == range.high && number != 0) one_port_ranges_are_own = true;
    return true;
  }
  state.own_no_port = number != 0;
  return true;
}

// Not what the program has set: a pin, or the mark of a deferred bind.
bool is_our_range(int fd, std::uint32_t range) {
  if (range == kDeferredMark) return true;
  const SocketState state = socket_state(fd);
  if (state.own_range) return false;
  const PortRange pin = PortRange::unpack(range);
  if (pin.low != pin.high) return false;
  if (state.holds_port() && !state.stuck && state.port == pin.low) return true;
  // One that could not be taken away (seccomp).
  if (state.kind == SocketKind::tcp && !one_port_ranges_are_own) return true;
  // On a descriptor that we do not know: the port that the socket has, had, or was promised.
  OwnAddress own;
  return state.kind == SocketKind::unknown && !one_port_ranges_are_own && is_tcp(fd) &&
         own_address(fd, own) && (own.endpoint.port == pin.low || own.endpoint.port == 0);
}

// The bind strategy shares ports by SO_REUSEADDR.
bool is_our_reuse(const SocketState& state) {
  return state.kind == SocketKind::tcp && state.stuck && !state.own_reuse;
}

void set_nonblocking(int fd, bool nonblocking) {
  SocketState state = socket_state(fd);
  if (state.kind != SocketKind::tcp || state.nonblocking == nonblocking) return;
  state.nonblocking = nonblocking;
  set_socket_state(fd, state);
}

}  // namespace

int socket_call(int domain, int type, int protocol) {
  const int fd = real().socket(domain, type, protocol);
  if (fd < 0 || settings.mode == ProcessMode::off) return fd;
  // The number is new, so what had it was closed without us: by a raw system call, for example.
  if (const SocketState before = socket_state(fd); before.holds_port() && is_active()) {
    give_back(before, Release::quarantine);
  }
  SocketState state;
  const bool stream = (type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) == SOCK_STREAM;
  const bool tcp = protocol == 0 || protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP;
  if ((domain != AF_INET && domain != AF_INET6) || !stream || !tcp) {
    state.kind = SocketKind::other;
  } else if (!namespace_changed) {
    state.kind = SocketKind::tcp;
    state.nonblocking = (type & SOCK_NONBLOCK) != 0;
  }
  set_socket_state(fd, state);
  newest_socket.store(fd, std::memory_order_relaxed);
  return fd;
}

int setsockopt_call(int fd, int level, int name, const void* value, socklen_t length) {
  const int result = real().setsockopt(fd, level, name, value, length);
  if (result != 0 || !is_active()) return result;
  if (level != SOL_SOCKET && level != IPPROTO_IP && level != IPPROTO_IPV6) return result;
  SocketState state = socket_state(fd);
  if (state.kind == SocketKind::tcp && learn_option(state, level, name, value, length)) {
    set_socket_state(fd, state);
  }
  return result;
}

int getsockopt_call(int fd, int level, int name, void* value, socklen_t* length) {
  const int result = real().getsockopt(fd, level, name, value, length);
  const bool range = level == IPPROTO_IP && name == IP_LOCAL_PORT_RANGE;
  const bool reuse = level == SOL_SOCKET && name == SO_REUSEADDR;
  if ((!range && !reuse) || result != 0 || !is_active()) return result;
  const ErrnoKeeper keep;
  // The whole of it: the program may have asked for a byte.
  std::uint32_t number = 0;
  socklen_t whole = sizeof number;
  if (system_call(SYS_getsockopt, fd, level, name, &number, &whole) == 0 && number != 0 &&
      (range ? is_our_range(fd, number) : is_our_reuse(socket_state(fd)))) {
    std::memset(value, 0, *length);
  }
  return result;
}

int fcntl_call(int (*real_function)(int, int, ...), int fd, int command, void* argument) {
  const int result = real_function(fd, command, argument);
  if (result < 0 || !is_active()) return result;
  if (command == F_SETFL) {
    set_nonblocking(fd, (reinterpret_cast<std::uintptr_t>(argument) & O_NONBLOCK) != 0);
  } else if (command == F_DUPFD || command == F_DUPFD_CLOEXEC) {
    set_socket_state(result, SocketState{});
  }
  return result;
}

int ioctl_call(int fd, unsigned long request, void* argument) {
  const int result = real().ioctl(fd, request, argument);
  if (result == 0 && request == FIONBIO && is_active()) {
    int on;
    std::memcpy(&on, argument, sizeof on);
    set_nonblocking(fd, on != 0);
  }
  return result;
}

int mlockall_call(int flags) {
  if (!is_active()) return real().mlockall(flags);
  start_socket_table();
  memory_is_locked = true;
  const int result = real().mlockall(flags);
  if (result == 0) unlock_segment();
  return result;
}

int setns_call(int fd, int type) {
  const int result = real().setns(fd, type);
  // type 0 allows any namespace, and a pidfd may stand for several.
  if (result == 0 && (type == 0 || (type & CLONE_NEWNET) != 0)) namespace_changed = true;
  return result;
}

int unshare_call(int flags) {
  const int result = real().unshare(flags);
  if (result == 0 && (flags & CLONE_NEWNET) != 0) namespace_changed = true;
  if (result == 0 && (flags & CLONE_FILES) != 0) close_socket_table();
  return result;
}

}  // namespace portpool::shim
