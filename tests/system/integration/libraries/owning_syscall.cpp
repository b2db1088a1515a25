// Another preloaded library, as torsocks is: it puts itself before syscall(), cannot serve it until
// its constructor has run, and connects in that constructor.
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

static bool started;

extern "C" long syscall(long number, ...) noexcept {
  std::fprintf(stderr, "syscall(%ld) came to the wrong library%s\n", number,
               started ? "" : ", before it had started");
  std::abort();
}

__attribute__((constructor)) static void start() {
  sockaddr_in nobody{};
  nobody.sin_family = AF_INET;
  nobody.sin_port = htons(9);
  nobody.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || connect(fd, reinterpret_cast<const sockaddr*>(&nobody), sizeof nobody) == 0 ||
      close(fd) != 0) {
    std::abort();
  }
  started = true;
}
