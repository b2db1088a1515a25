#include "shim/route.h"

#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "portpool/linux.h"
#include "portpool/system_call.h"
#include "shim/own_descriptor.h"
#include "shim/process.h"
#include "shim/strategy.h"

namespace portpool::shim {
namespace {

std::atomic<Routes> routes{Routes::as_poolds};

// By system calls, which are no cancellation points: no thread is cancelled with it open.
class Datagram {
 public:
  explicit Datagram(const Address& destination) : family_(is_v4(destination) ? AF_INET : AF_INET6) {
    socket_.open_socket(family_, SOCK_DGRAM, 0);
  }

  explicit operator bool() const { return static_cast<bool>(socket_); }
  int fd() const { return socket_.get(); }
  int family() const { return family_; }

  bool call(long number, const Endpoint& endpoint) const {
    sockaddr_storage address;
    const socklen_t length = sockaddr_from_endpoint(endpoint, family_, address);
    return system_call(number, socket_.get(), &address, length) == 0;
  }

  bool source(Address& out) const {
    sockaddr_storage address{};
    socklen_t length = sizeof address;
    Endpoint local;
    if (system_call(SYS_getsockname, socket_.get(), &address, &length) != 0 ||
        !endpoint_from_sockaddr(reinterpret_cast<sockaddr*>(&address), length, local)) {
      return false;
    }
    out = local.address;
    return !is_unspecified(out);
  }

  // The option as `from` has it. A socket without the option, and a value of 0, need nothing.
  bool copy_option(int from, int level, int name) const {
    int value = 0;
    socklen_t length = sizeof value;
    if (system_call(SYS_getsockopt, from, level, name, &value, &length) != 0 || value == 0) {
      return true;
    }
    return system_call(SYS_setsockopt, socket_.get(), level, name, &value, sizeof value) == 0;
  }

 private:
  int family_;
  OwnDescriptor socket_;
};

// The user whom rules by user go by (sk_uid), which is that of the socket's inode
// (sock_init_data_uid, sockfs_setattr).
bool same_user(int a, int b) {
  KernelStat of_a{};
  KernelStat of_b{};
  return kernel_fstat(a, of_a) == 0 && kernel_fstat(b, of_b) == 0 && of_a.st_uid == of_b.st_uid;
}

bool is_alike(const Datagram& datagram, int fd) {
  if (!same_user(datagram.fd(), fd) || !datagram.copy_option(fd, SOL_SOCKET, SO_MARK) ||
      !datagram.copy_option(fd, SOL_SOCKET, SO_BINDTOIFINDEX)) {
    return false;
  }
  return datagram.family() == AF_INET
             ? datagram.copy_option(fd, IPPROTO_IP, IP_TOS)
             : datagram.copy_option(fd, IPPROTO_IPV6, IPV6_ADDR_PREFERENCES);
}

}  // namespace

// Relaxed: nothing else is published by it.
Routes process_routes() { return routes.load(std::memory_order_relaxed); }

void note_other_source(bool asked) {
  if (asked) {
    routes.store(Routes::unforeseeable, std::memory_order_relaxed);
    return;
  }
  Routes before = Routes::as_poolds;
  routes.compare_exchange_strong(before, Routes::own, std::memory_order_relaxed);
}

bool learn_source(int fd, const Endpoint& destination, Address& out) {
  const ErrnoKeeper keep;
  const Datagram datagram(destination.address);
  return datagram && is_alike(datagram, fd) && datagram.call(SYS_connect, destination) &&
         datagram.source(out);
}

bool leads_to(const Address& source, const Endpoint& destination) {
  const Datagram datagram(destination.address);
  if (!datagram) return true;
  return (datagram.call(SYS_bind, {source, 0}) && datagram.call(SYS_connect, destination)) ||
         !is_source_error(errno);
}

}  // namespace portpool::shim
