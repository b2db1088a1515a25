#include "shim/sockets.h"

#include <fcntl.h>
#include <netinet/tcp.h>

#include "portpool/lane.h"
#include "portpool/linux.h"
#include "portpool/system_call.h"
#include "shim/process.h"
#include "shim/real.h"

namespace portpool::shim {

bool one_port_ranges_are_own;
std::atomic<int> newest_socket{-1};

namespace {

template <class Value>
bool get_option(int fd, int level, int name, Value& value) {
  socklen_t length = sizeof value;
  return system_call(SYS_getsockopt, fd, level, name, &value, &length) == 0;
}

// (A range of one port that the program has set itself stays.)
bool is_one_port(std::uint32_t range) {
  const PortRange ports = PortRange::unpack(range);
  return !one_port_ranges_are_own && ports.low == ports.high && ports.low >= kLowestPort;
}

// One port, on a socket that is neither connecting nor connected but has been: it still tells the
// port of that attempt.
bool is_left_pin(int fd, std::uint32_t range, std::uint16_t local_port) {
  std::uint8_t tcp_state = 0;
  return is_one_port(range) && PortRange::unpack(range).low == local_port &&
         get_option(fd, IPPROTO_TCP, TCP_INFO, tcp_state) && tcp_state == TCP_CLOSE;
}

// The same on a socket that has no port, and had none.
bool is_promise(std::uint32_t range, std::uint16_t local_port) {
  return is_one_port(range) && local_port == 0;
}

}  // namespace

SocketState examine_socket(int fd, std::uint64_t netns_cookie) {
  SocketState state;
  int type = 0;
  int protocol = 0;
  if (!get_option(fd, SOL_SOCKET, SO_TYPE, type) ||
      !get_option(fd, SOL_SOCKET, SO_PROTOCOL, protocol)) {
    return state;
  }
  state.kind = SocketKind::other;
  if (type != SOCK_STREAM || (protocol != IPPROTO_TCP && protocol != IPPROTO_MPTCP)) return state;
  OwnAddress own;
  if (!own_address(fd, own)) return state;
  Endpoint local = own.endpoint;
  state.kind = SocketKind::tcp;
  std::uint64_t cookie = 0;
  state.foreign = netns_cookie != 0 && get_option(fd, SOL_SOCKET, SO_NETNS_COOKIE, cookie) &&
                  cookie != netns_cookie;
  std::uint32_t range = port_range_of(fd);
  if (is_left_pin(fd, range, local.port)) {
    range = 0;
    set_port_range(fd, range);
    // What getsockname() still tells is the port of that attempt; the socket has none.
    local.port = 0;
  } else if (is_promise(range, local.port)) {
    state.deferred = true;
    state.port = PortRange::unpack(range).low;
  } else if (range == kDeferredMark) {
    state.deferred = true;
  }
  state.own_range = range != 0 && !state.deferred;
  state.own_port = local.port != 0;
  state.has_source = local.port == 0 && !is_unspecified(local.address);
  linger option{};
  state.reset_on_close =
      get_option(fd, SOL_SOCKET, SO_LINGER, option) && option.l_onoff != 0 && option.l_linger == 0;
  int reuse = 0;
  state.own_reuse = get_option(fd, SOL_SOCKET, SO_REUSEADDR, reuse) && reuse != 0;
  const int flags = real().fcntl(fd, F_GETFL);
  state.nonblocking = flags >= 0 && (flags & O_NONBLOCK) != 0;
  state.own_route = has_own_route(fd);
  return state;
}

bool is_tcp(int fd) {
  const ErrnoKeeper keep;
  int protocol = 0;
  if (!get_option(fd, SOL_SOCKET, SO_PROTOCOL, protocol)) {
    // A filter may refuse the question in these very words.
    OwnAddress own;
    return (errno != EBADF && errno != ENOTSOCK) || own_address(fd, own);
  }
  return protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP;
}

std::uint32_t port_range_of(int fd) {
  std::uint32_t range = 0;
  return get_option(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, range) ? range : 0;
}

bool set_port_range(int fd, std::uint32_t range) {
  return real().setsockopt(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, &range, sizeof range) == 0;
}

bool has_range(int fd, std::uint32_t range) {
  const ErrnoKeeper keep;
  std::uint32_t now = 0;
  return !get_option(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, now) || now == range;
}

bool is_closed_tcp(int fd) {
  const ErrnoKeeper keep;
  std::uint8_t tcp_state = 0;
  return is_tcp(fd) && get_option(fd, IPPROTO_TCP, TCP_INFO, tcp_state) && tcp_state == TCP_CLOSE;
}

bool own_address(int fd, OwnAddress& out) {
  auto* raw = reinterpret_cast<sockaddr*>(&out.raw);
  return real().getsockname(fd, raw, &out.length) == 0 &&
         endpoint_from_sockaddr(raw, out.length, out.endpoint);
}

bool has_own_route(int fd) {
  int mark = 0;
  int device = 0;
  return (get_option(fd, SOL_SOCKET, SO_MARK, mark) && mark != 0) ||
         (get_option(fd, SOL_SOCKET, SO_BINDTOIFINDEX, device) && device != 0);
}

}  // namespace portpool::shim
