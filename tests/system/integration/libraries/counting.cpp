// Another preloaded library: counts the connects of IPv4 that come past it, and says so at the end.
#include <dlfcn.h>
#include <sys/socket.h>

#include <atomic>
#include <cstdio>

static std::atomic<int> connects;

extern "C" int connect(int fd, const sockaddr* address, socklen_t length) {
  const auto next = reinterpret_cast<decltype(&::connect)>(dlsym(RTLD_NEXT, "connect"));
  if (address->sa_family == AF_INET) connects.fetch_add(1);
  return next(fd, address, length);
}

__attribute__((destructor)) static void report() { std::printf("counted %d\n", connects.load()); }
