#include "kernel/netns.h"

#include <sys/stat.h>

#include <cerrno>
#include <system_error>

#include "base/descriptor.h"
#include "portpool/linux.h"

namespace portpool::kernel {

NetworkNamespace current_network_namespace() {
  const auto fail = [] {
    throw std::system_error(errno, std::generic_category(),
                            "cannot identify the network namespace");
  };
  NetworkNamespace found;
  const Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) fail();
  socklen_t length = sizeof found.cookie;
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_NETNS_COOKIE, &found.cookie, &length) != 0) {
    found.cookie = 0;
  }
  struct stat status {};
  if (::stat("/proc/thread-self/ns/net", &status) == 0) {
    found.inode = status.st_ino;
  } else if (found.cookie == 0) {
    fail();
  }
  return found;
}

}  // namespace portpool::kernel
