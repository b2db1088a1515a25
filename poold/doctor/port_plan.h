// Which ports of ip_local_port_range the kernel can choose by itself, and in which order.
//
// connect() tries the ports of the lower bound's parity first and the others only when none of
// those is left; with an odd number of ports it never takes the last one (__inet_hash_connect,
// net/ipv4/inet_hashtables.c, since Linux 4.2). bind(address, 0) prefers the other parity.
#pragma once

#include <bitset>
#include <cstdint>
#include <optional>
#include <vector>

#include "kernel/sysctl.h"

namespace portpool::doctor {

using PortSet = std::bitset<65536>;

struct PortPlan {
  kernel::PortRange range;
  unsigned count = 0;     // ports in the range
  unsigned reserved = 0;  // of these, in ip_local_reserved_ports
  unsigned taken = 0;     // of these, listened on or bound without a connection, and not reserved
  unsigned usable = 0;    // what is left to choose from, for each destination
  unsigned first = 0;     // the usable ones that are tried first: the cliff stands behind them
  PortSet is_usable;

  bool odd() const { return count % 2 != 0; }
  bool in_range(std::uint16_t port) const { return port >= range.low && port <= range.high; }
  bool tried_first(std::uint16_t port) const { return (port ^ range.low) % 2 == 0; }
};

// `taken`: ports that some socket listens on or is bound to.
PortPlan make_plan(kernel::PortRange range, const std::vector<kernel::PortRange>& reserved,
                   const PortSet& taken);

// The widest range that takes in `now` and none of the ports below and above it in `listening`,
// from 1024 on and with an even count; nullopt when that is not wider.
std::optional<kernel::PortRange> wider_range(kernel::PortRange now, const PortSet& listening);

}  // namespace portpool::doctor
