// What the running kernel can do, found by trying and not by its version: distributions backport,
// and sandboxes take away.
#pragma once

#include <string>

namespace portpool::kernel {

struct KernelFeatures {
  std::string untried;                  // why there was no socket to try with; empty: there was
  bool local_port_range = false;        // IP_LOCAL_PORT_RANGE (Linux 6.3)
  bool bind_address_no_port = false;    // IP_BIND_ADDRESS_NO_PORT (Linux 4.2)
  bool netns_cookie = false;            // SO_NETNS_COOKIE (Linux 5.14)
  bool mptcp = false;                   // IPPROTO_MPTCP sockets (Linux 5.6, net.mptcp.enabled)
  bool bound_inactive_listing = false;  // bound sockets show in sock_diag (Linux 6.8)
  std::string release;                  // uname -r
};

// Takes a few socket calls; throws nothing: what cannot be tried is shown as missing.
KernelFeatures probe_features();

}  // namespace portpool::kernel
