// close() and its relatives: a port that we gave goes back to its lane at once, as a hint.
#include <netinet/tcp.h>

#include "shim/calls.h"
#include "shim/lanes.h"
#include "shim/process.h"
#include "shim/real.h"
#include "shim/sockets.h"

namespace portpool::shim {
namespace {

// What the kernel will do with the port when the last descriptor of the socket goes.
Release release_at_close(int fd, const SocketState& state) {
  // Wrong when a child holds the socket too: that costs a rejection, and is then known.
  if (state.reset_on_close) return Release::free;
  std::uint8_t tcp_state = 0;
  socklen_t length = sizeof tcp_state;
  const ErrnoKeeper keep;
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &tcp_state, &length) != 0) return Release::quarantine;
  switch (tcp_state) {
    case TCP_CLOSE:
    case TCP_SYN_SENT:
    case TCP_CLOSE_WAIT:  // LAST_ACK follows, then nothing
      return Release::free;
    default:
      return Release::quarantine;
  }
}

}  // namespace

int close_call(int fd) {
  if (settings.mode == ProcessMode::off) return real().close(fd);
  const SocketState state = take_socket_state(fd);
  if (!state.pinned) return real().close(fd);
  const Release how = release_at_close(fd, state);
  const int result = real().close(fd);
  give_back(state, how);
  return result;
}

int close_range_call(unsigned first, unsigned last, int flags) {
  const int result = real().close_range(first, last, flags);
  if (result == 0 && (flags & static_cast<int>(CLOSE_RANGE_CLOEXEC)) == 0) {
    forget_sockets(first, last);
  }
  return result;
}

void closefrom_call(int first) {
  real().closefrom(first);
  forget_sockets(first < 0 ? 0 : static_cast<unsigned>(first), ~0U);
}

int dup2_call(int from, int to) {
  const int result = real().dup2(from, to);
  if (result >= 0 && from != to) set_socket_state(to, {});
  return result;
}

int dup3_call(int from, int to, int flags) {
  const int result = real().dup3(from, to, flags);
  if (result >= 0) set_socket_state(to, {});
  return result;
}

}  // namespace portpool::shim
