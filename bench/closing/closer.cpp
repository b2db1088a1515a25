// What bench/closing/closing.py measures in a process of its own:
//
//   bench_closer closefrom|close_range|vfork COUNT
//
// Does it COUNT times while 30 sockets are open below the number from which on is closed, and
// prints the median in microseconds.
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <vector>

namespace {

constexpr int kFirst = 64;

void close_in_child() {
  const pid_t child = vfork();
  if (child == 0) {
    closefrom(kFirst);
    _exit(0);
  }
  waitpid(child, nullptr, 0);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const std::string_view what = argv[1];
  for (int i = 0; i < 30; ++i) {
    if (socket(AF_INET, SOCK_STREAM, 0) < 0) return 1;
  }
  std::vector<double> times;
  for (int left = std::atoi(argv[2]); left > 0; --left) {
    // A socket to close, so that there is something to do.
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (dup2(fd, kFirst + 10) < 0) return 1;
    close(fd);
    const auto start = std::chrono::steady_clock::now();
    if (what == "closefrom") {
      closefrom(kFirst);
    } else if (what == "close_range") {
      close_range(kFirst, ~0U, 0);
    } else {
      close_in_child();
    }
    const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - start;
    times.push_back(took.count());
  }
  std::nth_element(times.begin(), times.begin() + static_cast<long>(times.size() / 2), times.end());
  std::printf("%.3f\n", times[times.size() / 2]);
  return 0;
}
