// What routing says about a destination (RTM_GETROUTE, rtnetlink(7)), in the calling thread's
// network namespace and for a socket without mark, device or source address of its own.
#pragma once

#include "kernel/answer.h"
#include "portpool/endpoint.h"

namespace portpool::kernel {

struct Route {
  Address source;  // the source address that connect() would pick; with multipath, for one flow
  bool local;      // the destination is this host (RTN_LOCAL)
};

// Absent: unreachable, prohibited, blackholed, unspecified, a multicast or broadcast address, no
// source address.
Answer<Route> route_to(const Address& destination);

// Whether connections to `address` stay on this host. All of 127.0.0.0/8 counts while lo is up.
// Value or unknown.
Answer<bool> is_local_address(const Address& address);

}  // namespace portpool::kernel
