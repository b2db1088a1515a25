#include "kernel/features.h"

#include <sys/utsname.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <exception>

#include "base/descriptor.h"
#include "kernel/sock_diag.h"
#include "portpool/linux.h"

namespace portpool::kernel {
namespace {

class Socket {
 public:
  Socket(int family, int protocol) : fd_(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, protocol)) {}
  bool open() const { return static_cast<bool>(fd_); }

  // Whether the option can be set and then has the value that it was set to.
  bool takes(int level, int option, std::uint32_t value) const {
    std::uint32_t now = 0;
    socklen_t length = sizeof now;
    return ::setsockopt(fd_.get(), level, option, &value, sizeof value) == 0 &&
           ::getsockopt(fd_.get(), level, option, &now, &length) == 0 && now == value;
  }

  bool has_netns_cookie() const {
    std::uint64_t cookie = 0;
    socklen_t length = sizeof cookie;
    return ::getsockopt(fd_.get(), SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &length) == 0 &&
           cookie != 0;
  }

 private:
  Descriptor fd_;
};

bool bound_sockets_are_listed() {
  try {
    return SockDiag().lists_bound_inactive();
  } catch (const std::exception&) {
    return false;
  }
}

}  // namespace

KernelFeatures probe_features() {
  constexpr std::uint32_t kOnePort = 40000U << 16 | 40000U;
  KernelFeatures found;
  const Socket tcp(AF_INET, IPPROTO_TCP);
  if (!tcp.open()) found.untried = std::string("cannot open a TCP socket: ") + std::strerror(errno);
  found.local_port_range = tcp.takes(IPPROTO_IP, IP_LOCAL_PORT_RANGE, kOnePort);
  found.bind_address_no_port = tcp.takes(IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
  found.netns_cookie = tcp.has_netns_cookie();
  found.mptcp = Socket(AF_INET, IPPROTO_MPTCP).open();
  found.bound_inactive_listing = bound_sockets_are_listed();
  utsname name{};
  if (::uname(&name) == 0) found.release = name.release;
  return found;
}

}  // namespace portpool::kernel
