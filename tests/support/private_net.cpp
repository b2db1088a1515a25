#include "support/private_net.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <system_error>

#include "base/descriptor.h"
#include "support/eventually.h"
#include "support/process.h"
#include "support/temp_dir.h"

namespace portpool::test {
namespace {

[[noreturn]] void fail(const std::string& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

// One write() call: /proc takes a value whole or not at all.
void write_file(const std::string& path, const std::string& value) {
  const Descriptor file(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file) fail(path);
  const ssize_t written = write(file.get(), value.data(), value.size());
  if (written != static_cast<ssize_t>(value.size())) fail(path);
}

void enter_new_namespace() {
  if (unshare(CLONE_NEWNET) == 0) return;
  if (errno != EPERM) fail("unshare(CLONE_NEWNET)");
  const std::string uid = std::to_string(getuid());
  const std::string gid = std::to_string(getgid());
  if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) {
    fail("the tests need root or user namespaces: unshare(CLONE_NEWUSER | CLONE_NEWNET)");
  }
  write_file("/proc/self/setgroups", "deny");
  write_file("/proc/self/uid_map", "0 " + uid + " 1");
  write_file("/proc/self/gid_map", "0 " + gid + " 1");
}

void bring_loopback_up() {
  const Descriptor any(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!any) fail("socket");
  ifreq request{};
  std::strncpy(request.ifr_name, "lo", sizeof request.ifr_name - 1);
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  if (ioctl(any.get(), SIOCSIFFLAGS, &request) != 0) fail("bring lo up");
}

std::string sysctl_path(std::string name) {
  std::replace(name.begin(), name.end(), '.', '/');
  return "/proc/sys/" + name;
}

}  // namespace

PrivateNet::PrivateNet() {
  enter_new_namespace();
  bring_loopback_up();
}

void PrivateNet::set_sysctl(const std::string& name, const std::string& value) {
  if (!name.starts_with("net.")) throw std::invalid_argument(name + " is not of this namespace");
  write_file(sysctl_path(name), value);
}

std::string PrivateNet::sysctl(const std::string& name) const {
  std::string value = read_whole_file(sysctl_path(name));
  while (!value.empty() && value.back() == '\n') value.pop_back();
  return value;
}

void PrivateNet::set_port_range(int low, int high) {
  set_sysctl("net.ipv4.ip_local_port_range", std::to_string(low) + " " + std::to_string(high));
}

void PrivateNet::add_address(const std::string& prefix) {
  std::vector<std::string> command{"ip", "address", "add", prefix, "dev", "lo"};
  const bool v6 = prefix.find(':') != std::string::npos;
  // Without nodad an IPv6 address is not usable for the first second.
  if (v6) command.push_back("nodad");
  Process process(command);
  if (process.wait() != 0) throw std::runtime_error("ip address add: " + process.err());
  if (v6) await_addresses({"ip"});
}

void PrivateNet::remove_address(const std::string& prefix) {
  Process process({"ip", "address", "del", prefix, "dev", "lo"});
  if (process.wait() != 0) throw std::runtime_error("ip address del: " + process.err());
}

void await_addresses(std::vector<std::string> ip) {
  ip.insert(ip.end(), {"-6", "-oneline", "address", "show", "scope", "global", "tentative"});
  const auto all_usable = [&] {
    Process process(ip);
    return process.wait() == 0 && process.out().empty();
  };
  if (!eventually(all_usable)) throw std::runtime_error("IPv6 addresses stay tentative");
}

}  // namespace portpool::test
