// The kernel's own account of the ports toward a destination, by ss(8): independent of poold's
// sock_diag code.
#pragma once

#include <string>

namespace portpool::test {

struct KernelPorts {
  int active = 0;   // every state but the two below
  int waiting = 0;  // TIME-WAIT and FIN-WAIT-2
};

// Sockets with local address `source` and peer `destination` ("127.0.0.1:9001").
KernelPorts kernel_ports(const std::string& source, const std::string& destination);

// All TCP sockets over IPv4 with their processes, for messages.
std::string kernel_table();

}  // namespace portpool::test
