// Preloaded into poold: between it (and libmnl) and the kernel's netlink sockets. What fails is
// said by the first byte of the file that FAILING_NETLINK names, at each call anew
// (netlink_fault.h).
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>

#include "fault/daemon/netlink_fault.h"

using portpool::test::NetlinkFault;
using portpool::test::NetlinkOrders;

namespace {

NetlinkOrders* orders;
std::atomic<int> answers;

NetlinkFault fault() { return orders == nullptr ? NetlinkFault::none : orders->fault.load(); }

bool is_netlink(int fd) {
  int domain = 0;
  socklen_t length = sizeof domain;
  const int before = errno;
  const bool is = getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0;
  errno = before;
  return is && domain == AF_NETLINK;
}

template <class Function>
Function next(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

ssize_t fails(int error) {
  orders->met.fetch_add(1);
  errno = error;
  return -1;
}

// What the kernel has answered, made worse. `bytes`: the beginning of it.
ssize_t spoil(char* bytes, ssize_t size) {
  if (size < static_cast<ssize_t>(sizeof(nlmsghdr))) return size;
  auto* header = reinterpret_cast<nlmsghdr*>(bytes);
  switch (fault()) {
    case NetlinkFault::lost:
      return fails(ENOBUFS);
    case NetlinkFault::cut:
      return answers.fetch_add(1) % 2 == 0 ? size : fails(EAGAIN);
    case NetlinkFault::interrupted:
      orders->met.fetch_add(1);
      header->nlmsg_flags |= NLM_F_DUMP_INTR;
      return size;
    case NetlinkFault::garbage:
      orders->met.fetch_add(1);
      std::fill(bytes + sizeof(nlmsghdr::nlmsg_len), bytes + size, '\xA5');
      return size;
    default:
      return size;
  }
}

}  // namespace

__attribute__((constructor)) static void start() {
  const char* path = std::getenv("FAILING_NETLINK");
  const int fd = path != nullptr ? open(path, O_RDWR | O_CLOEXEC) : -1;
  void* memory = fd >= 0 ? mmap(nullptr, sizeof *orders, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
                         : MAP_FAILED;
  if (memory == MAP_FAILED) std::abort();
  close(fd);
  orders = static_cast<NetlinkOrders*>(memory);
}

extern "C" int socket(int domain, int type, int protocol) noexcept {
  if (domain == AF_NETLINK && fault() == NetlinkFault::no_socket) {
    return static_cast<int>(fails(ENOBUFS));
  }
  return next<decltype(&::socket)>("socket")(domain, type, protocol);
}

extern "C" ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  if (fault() == NetlinkFault::no_question && is_netlink(fd)) return fails(ENOBUFS);
  return next<decltype(&::sendmsg)>("sendmsg")(fd, message, flags);
}

extern "C" ssize_t sendto(int fd, const void* bytes, std::size_t size, int flags,
                          const sockaddr* to, socklen_t length) {
  if (fault() == NetlinkFault::no_question && is_netlink(fd)) return fails(ENOBUFS);
  return next<decltype(&::sendto)>("sendto")(fd, bytes, size, flags, to, length);
}

extern "C" ssize_t recvmsg(int fd, msghdr* message, int flags) {
  const ssize_t size = next<decltype(&::recvmsg)>("recvmsg")(fd, message, flags);
  if (size <= 0 || fault() == NetlinkFault::none || !is_netlink(fd)) return size;
  const iovec& first = message->msg_iov[0];
  return spoil(static_cast<char*>(first.iov_base),
               std::min(size, static_cast<ssize_t>(first.iov_len)));
}

extern "C" ssize_t recv(int fd, void* bytes, std::size_t room, int flags) {
  const ssize_t size = next<decltype(&::recv)>("recv")(fd, bytes, room, flags);
  if (size <= 0 || fault() == NetlinkFault::none || !is_netlink(fd)) return size;
  return spoil(static_cast<char*>(bytes), std::min(size, static_cast<ssize_t>(room)));
}
