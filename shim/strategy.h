// How a socket is made to use one given source port.
#pragma once

#include <cstdint>

#include "portpool/layout.h"

namespace portpool::shim {

enum class PinResult {
  done,         // the next connect() uses the port or fails with EADDRNOTAVAIL
  unsupported,  // this socket or this kernel has no such means
};

struct PinStrategy {
  // Sets errno when unsupported. `port` is in host order.
  PinResult (*pin)(int fd, std::uint16_t port);
  // Leaves the choice to the kernel again, after a connect() that failed.
  void (*unpin)(int fd);
};

// Null for a strategy that this library does not have.
const PinStrategy* pin_strategy(Strategy strategy);

}  // namespace portpool::shim
