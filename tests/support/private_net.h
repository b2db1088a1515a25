// A network namespace of the test's own, so that no test opens a port on the machine.
#pragma once

#include <string>
#include <vector>

namespace portpool::test {

// Moves the calling process (it must have one thread) and its later children into a new network
// namespace with `lo` up. The kernel takes the namespace down with its last process. Without root
// it tries a user namespace as well. Every failure is a std::system_error.
class PrivateNet {
 public:
  PrivateNet();

  // `name` as sysctl(8) has it, "net.ipv4.tcp_tw_reuse"; only those of the namespace can be set.
  void set_sysctl(const std::string& name, const std::string& value);
  std::string sysctl(const std::string& name) const;

  // net.ipv4.ip_local_port_range, both ends inclusive. It serves IPv6 too.
  void set_port_range(int low, int high);

  // Adds "10.0.0.5/32" or "fd00::5/128" to `lo`.
  void add_address(const std::string& prefix);
  void remove_address(const std::string& prefix);
};

// Until each IPv6 address may be used: with nodad, too, the kernel sets it free from a work queue.
// `ip` is the command, perhaps in another namespace.
void await_addresses(std::vector<std::string> ip);

}  // namespace portpool::test
