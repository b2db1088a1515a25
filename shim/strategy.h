// How a socket is made to use one given source port.
#pragma once

#include <cstdint>

#include "portpool/endpoint.h"
#include "portpool/lane.h"

namespace portpool::shim {

enum class PinResult {
  done,         // the next connect() uses the port or fails with EADDRNOTAVAIL
  taken,        // somebody has the port; another may be tried
  no_source,    // the address cannot be used here; another may be
  unsupported,  // this socket or this kernel has no such means
};

struct PinTarget {
  int fd;
  int family;  // AF_INET or AF_INET6, that of the socket
  Port port;
  // The rest is for bind() only.
  Address source;  // unspecified: the kernel's choice, at the connect()
  // Alone: nobody else may have the port, for whatever destination; every conflict then shows at
  // the bind, where another port can still be tried. Shared: with sockets that set SO_REUSEADDR
  // too, whose use for the same destination shows only at the connect().
  bool shared = false;
  bool reuse_is_set = false;  // SO_REUSEADDR, before the call
};

struct PinStrategy {
  PinResult (*pin)(const PinTarget& target);
  // Leaves the choice of port to the kernel again, after a connect() that failed. False: the socket
  // keeps the port until it is closed.
  bool (*unpin)(int fd);
};

// By setting IP_LOCAL_PORT_RANGE to one port (Linux 6.3), or by bind() with SO_REUSEADDR.
const PinStrategy& pin_strategy(Strategy strategy);

// The error, of bind() or connect(), may be due to the source address that was bound: with another
// one, or with the kernel's choice, there may be none.
bool is_source_error(int error);

// After binds that failed: the kernel has forgotten an address that the socket was bound to, and
// SO_REUSEADDR may have changed.
void restore_after_bind(int fd, int family, bool reuse, const Address* source);

// Gives the socket a source address and leaves the port open (IP_BIND_ADDRESS_NO_PORT, Linux 4.2).
// May be repeated with another address as long as the socket has no port. The option is looked at
// by bind() alone (__inet_bind), and so is set for it only: programs see it, and accepted sockets
// inherit it.
bool bind_source(int fd, int family, const Address& source);
// Takes the address away again.
void unbind_source(int fd, int family);

}  // namespace portpool::shim
