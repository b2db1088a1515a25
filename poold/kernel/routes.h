// What routing says about a destination (RTM_GETROUTE, rtnetlink(7)), in the calling thread's
// network namespace and for a socket without mark, device or source address of its own.
#pragma once

#include <optional>

#include "portpool/endpoint.h"

namespace portpool::kernel {

struct RouteAnswer {
  Address source;    // the source address that connect() would pick; with multipath, for one flow
  bool local;        // the destination is this host (RTN_LOCAL)
  unsigned oif = 0;  // interface index, 0 unknown
};

// nullopt: unreachable, prohibited, blackholed, unspecified, a multicast or broadcast address, no
// source address, or no answer from the kernel.
std::optional<RouteAnswer> route_to(const Address& destination);

// Whether connections to `address` stay on this host. All of 127.0.0.0/8 counts while lo is up.
bool is_local_address(const Address& address);

}  // namespace portpool::kernel
