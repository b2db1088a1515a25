#include "shim/filter.h"

#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <cerrno>

#include "shim/attach.h"
#include "shim/call.h"
#include "shim/calls.h"
#include "shim/process.h"
#include "shim/promise.h"
#include "shim/real.h"
#include "shim/record.h"
#include "shim/sockets.h"
#include "shim/strategy.h"

namespace portpool::shim {
namespace {

// What we have left on a socket is made good while system calls may still be made: a deferred bind,
// a pin, SO_REUSEADDR. Each is looked at once more, since its number may have been closed unseen.
void leave(int fd, SocketState state) {
  if (state.deferred && !state.started) {
    const Promise promise = take_promise(state);
    // A port that somebody else has by now is promised in vain: then any port, since the range of
    // that one would stay on the socket.
    if (make_real(fd, state, promise) == 0 || make_real(fd, state, {}) == 0) {
      set_socket_state(fd, state);
    }
  }
  if (state.pinned && !state.stuck && !state.own_range && is_tcp(fd) &&
      has_range(fd, PortRange{state.port, state.port}.pack())) {
    pin_strategy(Strategy::port_range).unpin(fd);
  }
  if (state.stuck && !state.own_reuse) {
    OwnAddress own;
    if (is_tcp(fd) && own_address(fd, own) && own.endpoint.port == state.port) {
      restore_after_bind(fd, own.raw.ss_family, state.own_reuse, nullptr);
    }
  }
}

bool installs(unsigned long operation, const void* program) {
  // Without a program it is a question: whether the kernel knows such filters.
  return operation == SECCOMP_SET_MODE_STRICT ||
         (operation == SECCOMP_SET_MODE_FILTER && program != nullptr);
}

bool installs_by_prctl(unsigned long option, unsigned long mode, unsigned long program) {
  return option == PR_SET_SECCOMP &&
         installs(mode == SECCOMP_MODE_FILTER ? SECCOMP_SET_MODE_FILTER : SECCOMP_SET_MODE_STRICT,
                  reinterpret_cast<const void*>(program));
}

// Before the call: other threads may come under the filter at once (SECCOMP_FILTER_FLAG_TSYNC).
template <class Call>
auto install(Call call) {
  const bool first = is_active();
  if (first) start_socket_table();
  settings.filters.fetch_add(1, std::memory_order_relaxed);
  if (first) {
    const ErrnoKeeper keep;
    visit_sockets(leave);
  }
  const auto result = call();
  if (result < 0) settings.filters.fetch_sub(1, std::memory_order_relaxed);
  return result;
}

}  // namespace

int prctl_call(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d) {
  const auto call = [&] { return real().prctl(option, a, b, c, d); };
  if (!installs_by_prctl(static_cast<unsigned long>(option), a, b)) return call();
  return install(call);
}

long syscall_call(long number, long a, long b, long c, long d, long e, long f) {
  const bool filter = (number == SYS_seccomp &&
                       installs(static_cast<unsigned long>(a), reinterpret_cast<const void*>(c))) ||
                      (number == SYS_prctl && installs_by_prctl(static_cast<unsigned long>(a),
                                                                static_cast<unsigned long>(b),
                                                                static_cast<unsigned long>(c)));
  // The last thing that is done: who comes by here has the stack that libc's syscall() would have.
  if (!filter) return real().syscall(number, a, b, c, d, e, f);
  return install([&] { return real().syscall(number, a, b, c, d, e, f); });
}

int connect_passed_on(int fd, const sockaddr* address, socklen_t length, SocketState state) {
  const int result = real().connect(fd, address, length);
  if (settings.mode == ProcessMode::off) return result;
  // A port of the program's own was never ours; a call on a connection is no attempt.
  if (state.kind != SocketKind::tcp || state.started || state.own_port) return result;
  const int error = errno_of(result);
  count_filtered(mapped_segment(), error);
  state.started = is_under_way(error);
  if (state.started) set_socket_state(fd, state);
  return result;
}

}  // namespace portpool::shim
