// The TCP sockets of this network namespace, counted once for all checks.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "doctor/port_plan.h"
#include "kernel/sock_diag.h"
#include "kernel/sysctl.h"
#include "portpool/endpoint.h"

namespace portpool::doctor {

inline constexpr std::size_t kStates = 16;
using StateCounts = std::array<std::uint32_t, kStates>;  // by TCP_* of <netinet/tcp.h>

// TIME_WAIT entries at most this old tell how many connections end per second.
inline constexpr std::uint32_t kRecentMs = 10'000;

// Whether the far side has TCP timestamps, without which connect() takes over no port in TIME_WAIT,
// whatever tcp_tw_reuse says (tcp_twsk_unique(), net/ipv4/tcp_ipv4.c).
enum class PeerTimestamps {
  not_asked,  // hardly anything depends on it
  yes,        // `no`, `unknown`: see peer_timestamps.h
  no,
  unknown,
};

// The connections from one source address to one destination whose port is of the local range.
struct Lane {
  Address source;
  Endpoint destination;
  StateCounts states{};
  std::uint32_t held = 0;             // usable ports that a new connect() cannot have
  std::uint32_t held_first = 0;       // of these, of the parity that is tried first
  std::uint32_t other_parity = 0;     // sockets, in any state, on the other parity
  std::uint32_t reusable = 0;         // TIME_WAIT that a new connect() may take over, see `peer`
  std::uint32_t reusable_usable = 0;  // of these, on usable ports
  std::uint32_t reusable_first = 0;   // and of the parity that is tried first
  PeerTimestamps peer = PeerTimestamps::not_asked;
  std::uint32_t recent_waits = 0;  // TIME_WAIT younger than kRecentMs
  std::uint32_t unanswered = 0;    // SYN_SENT that has had to send its SYN again
  std::uint32_t sockets = 0;
};

struct OutgoingSocket {
  std::uint32_t lane = 0;  // index into Census::lanes
  std::uint32_t inode = 0;
  std::uint16_t port = 0;
  std::uint8_t state = 0;
};

struct LocalSocket {  // listening, or bound and not connected
  Endpoint local;
  std::uint32_t inode = 0;
};

// Sockets that have sent their FIN and wait for the answer, by who should give it.
struct ClosingPeer {
  Endpoint peer;  // port 0: our clients at that address
  std::uint32_t fin_wait1 = 0;
  std::uint32_t last_ack = 0;
  std::uint32_t closing = 0;     // the peer has sent its FIN as well, but not acknowledged ours
  std::uint32_t orphans = 0;     // of all, those that no process holds any more
  std::uint32_t unanswered = 0;  // of all, those that have had to send again, or to probe

  std::uint32_t total() const { return fin_wait1 + last_ack + closing; }
};

struct Census {
  bool complete = false;      // false: the kernel's answer broke off; the counts are lower bounds
  bool bound_listed = false;  // false: `bound` is empty because the kernel does not tell
  std::uint64_t sockets = 0;
  StateCounts states{};
  PortPlan plan;
  PortSet listening;
  std::vector<Lane> lanes;  // fullest first
  std::vector<OutgoingSocket> outgoing;
  std::vector<LocalSocket> listeners;
  std::vector<LocalSocket> bound;
  std::vector<ClosingPeer> closing;  // most sockets first
};

struct CensusRules {
  kernel::PortRange range;
  std::vector<kernel::PortRange> reserved;
  kernel::TimeWaitReuse reuse;
};

// `destination_port`: not 0 leaves out the lanes of other ports (and is quicker).
// Throws std::system_error when the kernel lists no sockets.
Census take_census(kernel::SockDiag& sock_diag, const CensusRules& rules,
                   std::uint16_t destination_port = 0);

// As in ss(8): "ESTAB", "TIME-WAIT", ...
const char* name_of_state(std::size_t state);
// "27,000 ESTAB, 900 TIME-WAIT", most first; empty when there is none.
std::string states_text(const StateCounts& states);

}  // namespace portpool::doctor
