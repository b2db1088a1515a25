// A program for the kernel's own filter of sock_diag dumps: only sockets toward some destinations.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "portpool/endpoint.h"

namespace portpool::kernel {

// More destinations would do nothing but cost: the kernel's check of the program takes time by the
// square of its length.
inline constexpr std::size_t kMostFiltered = 512;

// Bytecode (INET_DIAG_REQ_BYTECODE, net/ipv4/inet_diag.c) that lets a socket pass when its remote
// end is one of `destinations`. An IPv4 destination stands for AF_INET sockets and for AF_INET6
// ones with the same address mapped. Some three steps per doubling of the destinations, for each
// socket that the kernel looks at. Empty: there is no program, for none is given, or more than
// kMostFiltered.
std::vector<std::byte> destination_filter(std::span<const Endpoint> destinations);

}  // namespace portpool::kernel
