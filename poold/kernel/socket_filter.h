// A program for the kernel's own filter of sock_diag dumps: only sockets toward some destinations.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "portpool/endpoint.h"

namespace portpool::kernel {

// Of longer programs the kernel's own check would cost more than they save: it takes time by the
// square of their length.
inline constexpr std::size_t kMostFiltered = 512;

// Bytecode (INET_DIAG_REQ_BYTECODE, net/ipv4/inet_diag.c) that lets a socket pass when its remote
// end is one of `destinations`. An IPv4 destination stands for AF_INET sockets and for AF_INET6
// ones with the same address mapped. Some three steps per doubling of the destinations, for each
// socket that the kernel looks at. Of more destinations than kMostFiltered only the ports are
// looked at, so that others pass too. Empty: there is no program, for no destination is given, or
// their ports are more than kMostFiltered as well.
std::vector<std::byte> destination_filter(std::span<const Endpoint> destinations);

}  // namespace portpool::kernel
