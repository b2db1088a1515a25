// librefused.so: each connect() over IPv4 or IPv6 is refused. A library that breaks something, for
// the test that tests/foreign sees such a thing.
#include <dlfcn.h>
#include <sys/socket.h>

#include <cerrno>

extern "C" int connect(int fd, const sockaddr* address, socklen_t length) {
  if (address->sa_family == AF_INET || address->sa_family == AF_INET6) {
    errno = ECONNREFUSED;
    return -1;
  }
  return reinterpret_cast<decltype(&connect)>(dlsym(RTLD_NEXT, "connect"))(fd, address, length);
}
