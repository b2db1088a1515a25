// By which source address a socket leaves, where the route that poold was told need not be its own:
// mark, device, user, type of service.
#pragma once

#include "portpool/endpoint.h"

namespace portpool::shim {

// How the unbound sockets of this process, without mark and device, stand to poold's route.
enum class Routes : int {
  as_poolds,      // nothing else has been seen
  own,            // one has left from another address: each is asked for its own
  unforeseeable,  // and the answer was wrong, too: nothing is refused on the strength of it
};

Routes process_routes();
// A socket has left from another address than was foreseen: by poold's route, or (asked) by
// learn_source(). For good, and for the children of the process too.
void note_other_source(bool asked);

// The source address that a connect() of the TCP socket `fd` to `destination` would get now, from a
// datagram socket that is given the same device, mark, type of service and address preferences, is
// connected, and sends nothing: a dozen system calls, some 5 us. False when that cannot be told:
// this process may not set the mark (CAP_NET_ADMIN or CAP_NET_RAW), the socket is another user's
// than a new one would be, there is no route. Rules by protocol are not seen (`ip rule ipproto`).
// IP_UNICAST_IF and IPV6_UNICAST_IF say nothing about TCP (tcp_v4_connect, tcp_v6_connect) and are
// left out. Leaves errno as it was.
bool learn_source(int fd, const Endpoint& destination, Address& out);

// Whether the kernel finds a way from `source` to `destination`, asked with a datagram socket that
// is closed again and sends nothing (four system calls). For bind() with a port, which cannot be
// undone when the connect() then fails for its source. What cannot be asked counts as true.
bool leads_to(const Address& source, const Endpoint& destination);

}  // namespace portpool::shim
