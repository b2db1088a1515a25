// locking_program size | LIMIT PORT: a small program, as those are that lock all their memory. With
// `size` it says its address space in bytes. Otherwise it locks itself into LIMIT bytes, without
// the right to more, connects three times to PORT on 127.0.0.1, and maps another 256 KiB. Exit
// status 0, or the number of the step that failed.
//
// Uses nothing of the C++ library, which would be larger than the program.
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static long pages_of_address_space() {
  char text[64] = "";
  const int fd = open("/proc/self/statm", O_RDONLY);
  if (read(fd, text, sizeof text - 1) <= 0) return 0;
  close(fd);
  return atol(text);
}

static bool maps_contain(const char* word) {
  static char text[65536];
  const int fd = open("/proc/self/maps", O_RDONLY);
  size_t used = 0;
  for (ssize_t got; (got = read(fd, text + used, sizeof text - 1 - used)) > 0;) {
    used += static_cast<size_t>(got);
  }
  close(fd);
  return strstr(text, word) != nullptr;
}

// Until the library has the daemon's segment, which a busy machine may hold up (guest.h).
static void begin_attached(char** argv) {
  const char* attempt = getenv("PORTPOOL_TEST_BEGIN_ATTACHED");
  if (attempt == nullptr || atoi(attempt) >= 200 || maps_contain("/memfd:portpool")) return;
  usleep(10000);
  char next[16];
  snprintf(next, sizeof next, "%d", atoi(attempt) + 1);
  setenv("PORTPOOL_TEST_BEGIN_ATTACHED", next, 1);
  execv("/proc/self/exe", argv);
}

static bool give_up_right_to_lock() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  if (syscall(SYS_capget, &header, data) != 0) return false;
  data[0].effective &= ~(1U << CAP_IPC_LOCK);
  data[0].permitted &= ~(1U << CAP_IPC_LOCK);
  return syscall(SYS_capset, &header, data) == 0;
}

static bool connect_once(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  const linger reset{1, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  const bool connected = connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  return close(fd) == 0 && connected;
}

int main(int argc, char** argv) {
  begin_attached(argv);
  if (argc == 2) return printf("%ld\n", pages_of_address_space() * 4096) < 0 ? 1 : 0;
  if (argc != 3) return 1;
  const rlim_t most = strtoul(argv[1], nullptr, 10);
  const rlimit limit{most, most};
  if (setrlimit(RLIMIT_MEMLOCK, &limit) != 0) return 2;
  if (!give_up_right_to_lock()) return 3;
  if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) return 4;
  for (int i = 0; i < 3; ++i) {
    if (!connect_once(atoi(argv[2]))) return 5;
  }
  const size_t more = 256 * 1024;
  void* memory = mmap(nullptr, more, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return memory == MAP_FAILED ? 6 : 0;
}
