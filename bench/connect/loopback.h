// The place where the measurement happens: a private network namespace with one listener.
#pragma once

#include <netinet/in.h>

#include <cstdint>

namespace portpool::bench {

// Outside every range that connections' own ports come from.
inline constexpr std::uint16_t kListenPort = 9000;
// Connections the listener keeps for drain(); the kernel's own bound is net.core.somaxconn (4096).
inline constexpr int kBacklog = 4096;

// Moves this process into a new network namespace with `lo` up, so that nothing measured here meets
// the machine's own connections. Without root it makes a user namespace too.
// Throws std::system_error.
void enter_private_namespace();

struct PortRange {
  std::uint16_t low;
  std::uint16_t high;
  std::uint32_t count() const { return high - low + 1U; }
};
// net.ipv4.ip_local_port_range of this namespace. Throws std::runtime_error.
PortRange local_port_range();

sockaddr_in listen_address();

// A non-blocking listener on listen_address(). Throws std::system_error.
int open_listener();

// Accepts and closes all that waits on `listener`.
void drain(int listener);

// Ends this process when its parent ends. Call it first in a child.
void die_with_parent();

// Keeps this process on one CPU; without effect where the CPU may not be used.
void run_on_cpu(int cpu);

}  // namespace portpool::bench
