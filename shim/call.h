// One connect() call on its way through the shim.
#pragma once

#include <sys/socket.h>

#include <cerrno>
#include <cstdint>

#include "portpool/endpoint.h"
#include "portpool/trace.h"
#include "shim/promise.h"
#include "shim/sockets.h"

namespace portpool::shim {

struct Call {
  int fd;
  const sockaddr* address;  // AF_INET or AF_INET6, read without error before
  socklen_t length;
  Endpoint destination;            // the same, decoded
  std::uint64_t start_ns;          // now_ns() at entry
  Route arm;                       // as assigned
  bool cpu_sampled = false;        // its CPU time is taken, too
  std::uint64_t cpu_start_ns = 0;  // thread_cpu_ns() once the arm was known
  TraceWhy why = TraceWhy::nothing;
  Promise promise{};

  int family() const { return address->sa_family; }
};

inline int errno_of(int result) { return result == 0 ? 0 : errno; }

// The error says that the connection was begun, or stands: it is not an attempt that failed.
inline bool is_under_way(int error) {
  return error == 0 || error == EINPROGRESS || error == EINTR || error == EALREADY ||
         error == EISCONN;
}

// Leaves latency and result in the segment, if there is one, and a trace entry if somebody listens.
void record_call(const Call& call, const SocketState& state, Route path, int error);

// The attempt is over: what the pool did to the socket is undone, and the port goes back.
void end_attempt(int fd, int family, SocketState& state);

}  // namespace portpool::shim
