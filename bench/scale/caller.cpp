// A program that starts, connects once and ends, as many do in a second on a busy host:
//
//   bench_scale_caller ADDRESS PORT
//
// Exit status 0: it had poold's segment; 3: it had not, so that nobody counts its call; 1: it has
// no connection; 2: wrong usage. C alone, so that its start costs little.
#include <arpa/inet.h>
#include <sys/socket.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

bool has_segment() {
  std::FILE* maps = std::fopen("/proc/self/maps", "r");
  if (maps == nullptr) return false;
  char line[512];
  bool found = false;
  while (!found && std::fgets(line, sizeof line, maps) != nullptr) {
    found = std::strstr(line, "/memfd:portpool") != nullptr;
  }
  std::fclose(maps);
  return found;
}

}  // namespace

int main(int argc, char** argv) {
  sockaddr_in destination{};
  destination.sin_family = AF_INET;
  if (argc != 3 || inet_pton(AF_INET, argv[1], &destination.sin_addr) != 1) return 2;
  destination.sin_port = htons(static_cast<in_port_t>(std::atoi(argv[2])));
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&destination), sizeof destination) != 0) {
    return 1;
  }
  // Ends with a reset: no TIME_WAIT is left for each of them.
  const linger reset{1, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  return has_segment() ? 0 : 3;
}
