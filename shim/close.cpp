// close() and its relatives: a port that we gave goes back to its lane at once, as a hint.
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <ctime>

#include "portpool/crash_point.h"
#include "portpool/system_call.h"
#include "shim/calls.h"
#include "shim/lanes.h"
#include "shim/process.h"
#include "shim/real.h"
#include "shim/sockets.h"

namespace portpool::shim {
namespace {

Release release_by_state(int fd, const SocketState& state) {
  std::uint8_t tcp_state = 0;
  socklen_t length = sizeof tcp_state;
  if (system_call(SYS_getsockopt, fd, IPPROTO_TCP, TCP_INFO, &tcp_state, &length) != 0)
    return Release::quarantine;
  switch (tcp_state) {
    case TCP_CLOSE:
      // Refused or reset; or shut down by both sides with TIME_WAIT left behind: a pin on that is
      // refused, a bind() is not.
      return state.stuck && state.started ? Release::quarantine : Release::free;
    case TCP_SYN_SENT:
    case TCP_CLOSE_WAIT:  // LAST_ACK follows, then nothing
      return Release::free;
    default:
      return Release::quarantine;
  }
}

// What the kernel will do with the port when the last descriptor of the socket goes. Wrong when a
// child holds the socket too: that costs a rejection, and is then known.
//
// Readiness answers for most sockets at half the price of TCP_INFO, which fills a long struct: the
// peer's FIN is there (tcp_poll() then reports POLLRDHUP), or bytes that nobody read, for which
// close() sends a reset (tcp_close(), RFC 2525 section 2.17).
Release release_at_close(int fd, const SocketState& state) {
  if (state.reset_on_close || !state.pinned) return Release::free;
  const ErrnoKeeper keep;
  pollfd ready{fd, POLLIN | POLLOUT | POLLRDHUP, 0};
  const timespec at_once{};
  if (system_call(SYS_ppoll, &ready, 1, &at_once, nullptr, 0) != 1)
    return release_by_state(fd, state);
  const unsigned events = static_cast<unsigned short>(ready.revents);
  if ((events & (POLLHUP | POLLERR | POLLNVAL)) != 0) return release_by_state(fd, state);
  return (events & (POLLIN | POLLRDHUP)) != 0 ? Release::free : Release::quarantine;
}

}  // namespace

int close_call(int fd) {
  const SocketState state = take_socket_state(fd);
  if (!state.holds_port() || !is_active()) return real().close(fd);
  const Release how = release_at_close(fd, state);
  const int result = real().close(fd);
  PORTPOOL_CRASH_POINT(before_release);
  give_back(state, how);
  return result;
}

// libc closes the stream's descriptor by a close() of its own.
int fclose_call(FILE* stream) {
  if (!is_active()) return real().fclose(stream);
  SocketState state;
  Release how = Release::quarantine;
  {
    const ErrnoKeeper keep;
    const int fd = fileno(stream);
    if (fd >= 0) state = take_socket_state(fd);
    if (state.holds_port()) how = release_at_close(fd, state);
  }
  const int result = real().fclose(stream);
  give_back(state, how);
  return result;
}

int close_range_call(unsigned first, unsigned last, int flags) {
  const int result = real().close_range(first, last, flags);
  if (result != 0 || !is_active()) return result;
  if ((flags & static_cast<int>(CLOSE_RANGE_UNSHARE)) != 0) close_socket_table();
  if ((flags & static_cast<int>(CLOSE_RANGE_CLOEXEC)) == 0 && !in_borrowed_memory()) {
    forget_sockets(first, last);
  }
  return result;
}

void closefrom_call(int first) {
  real().closefrom(first);
  if (!is_active() || in_borrowed_memory()) return;
  forget_sockets(first < 0 ? 0 : static_cast<unsigned>(first), ~0U);
}

int dup_call(int fd) {
  const int result = real().dup(fd);
  if (result >= 0) set_socket_state(result, SocketState{});
  return result;
}

int dup2_call(int from, int to) {
  const int result = real().dup2(from, to);
  if (result >= 0 && from != to) set_socket_state(to, SocketState{});
  return result;
}

int dup3_call(int from, int to, int flags) {
  const int result = real().dup3(from, to, flags);
  if (result >= 0) set_socket_state(to, SocketState{});
  return result;
}

}  // namespace portpool::shim
