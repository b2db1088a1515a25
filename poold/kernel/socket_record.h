// One TCP socket as sock_diag describes it, and the function that is called with each.
#pragma once

#include <netinet/tcp.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <type_traits>

#include "portpool/endpoint.h"

namespace portpool::kernel {

// Bound, but neither listening nor connected. A state of sock_diag's alone (Linux 6.8); the others
// are the TCP_* of <netinet/tcp.h>, 1 (ESTABLISHED) to 11 (CLOSING).
inline constexpr std::uint8_t kTcpBoundInactive = 13;

// 0 for a number that is no state.
constexpr std::uint32_t state_bit(unsigned state) {
  return state < 32 ? std::uint32_t{1} << state : 0;
}

inline constexpr std::uint32_t kAllStates = 0xFFFF'FFFFU;
// Of connections whose handshake is done and that are not over: they stand or are being closed.
inline constexpr std::uint32_t kConnectedStates =
    state_bit(TCP_ESTABLISHED) | state_bit(TCP_FIN_WAIT1) | state_bit(TCP_FIN_WAIT2) |
    state_bit(TCP_CLOSE_WAIT) | state_bit(TCP_LAST_ACK) | state_bit(TCP_CLOSING);

struct SocketRecord {
  Endpoint local;   // IPv4 is kept mapped, whatever the family of the socket
  Endpoint remote;  // port 0 for listeners and bound sockets
  std::uint8_t state = 0;
  bool v6_socket = false;  // AF_INET6, even where the addresses are IPv4
  // Milliseconds until TIME_WAIT ends; at most 60000. Set too in state FIN_WAIT2 when the socket is
  // an orphan that the kernel has reduced to a TIME_WAIT entry (such a one is never reusable).
  // 0 for all others.
  std::uint32_t timer_ms = 0;
  // Retransmissions or window probes that nobody has answered yet; 255 means that or more.
  std::uint8_t retries = 0;
  std::uint32_t inode = 0;  // 0: no process holds it (orphan, TIME_WAIT, not yet accepted)
  std::uint32_t uid = 0;
  // Whether both ends have agreed on TCP timestamps (tcpi_options of TCP_INFO). Only where
  // DumpFilter::tcp_info asked for it, of connections that stand or are being closed: nobody can
  // tell it of TIME_WAIT.
  std::optional<bool> timestamps = {};
};

// Refers to a callable that takes `const SocketRecord&`, without owning it: valid only as long as
// the callable. Costs one indirect call per record and no allocation.
class RecordVisitor {
 public:
  // Implicit, so that a lambda can be passed as it is; the constraint keeps copying apart.
  template <class F>
  requires(!std::is_same_v<std::remove_cvref_t<F>, RecordVisitor>)
      RecordVisitor(F&& visit)  // NOLINT(bugprone-forwarding-reference-overload)
      : object_(const_cast<void*>(static_cast<const void*>(std::addressof(visit)))),
        call_([](void* object, const SocketRecord& record) {
          (*static_cast<std::remove_reference_t<F>*>(object))(record);
        }) {}

  void operator()(const SocketRecord& record) const { call_(object_, record); }

 private:
  void* object_;
  void (*call_)(void*, const SocketRecord&);
};

}  // namespace portpool::kernel
