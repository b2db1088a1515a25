#include "worker.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <vector>

#include "base/clock.h"
#include "loopback.h"
#include "pipe_io.h"
#include "portpool/linux.h"

namespace portpool::bench {
namespace {

std::uint64_t now_ns() { return clock_ns(CLOCK_MONOTONIC); }

std::uint32_t narrow(std::uint64_t ns) {
  return static_cast<std::uint32_t>(
      std::min<std::uint64_t>(ns, std::numeric_limits<std::uint32_t>::max()));
}

bool pin(int fd, std::uint16_t port) {
  const std::uint32_t range = static_cast<std::uint32_t>(port) << 16 | port;
  return ::setsockopt(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, &range, sizeof range) == 0;
}

class Block {
 public:
  Block(Path path, std::vector<std::uint16_t> ports) : path_(path), ports_(std::move(ports)) {}

  void run(std::uint32_t connects, std::uint64_t budget_ns) {
    samples.reserve(connects);
    const std::uint64_t end = now_ns() + budget_ns;
    for (std::uint32_t i = 0; i < connects && now_ns() < end; ++i) one(i);
  }

  std::vector<Sample> samples;
  std::uint32_t errors = 0;
  int last_errno = 0;

 private:
  void one(std::uint32_t index) {
    const std::uint64_t start = now_ns();
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    // A reset at close() leaves no TIME_WAIT behind, so the occupancy stays as it was set.
    const linger reset{1, 0};
    ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    const std::uint64_t before = now_ns();
    const bool connected = connect_once(fd, index);
    const std::uint64_t after = now_ns();
    if (!connected) {
      ++errors;
      last_errno = errno;
    }
    ::close(fd);
    if (connected) samples.push_back({narrow(after - before), narrow(now_ns() - start)});
  }

  bool connect_once(int fd, std::uint32_t index) const {
    if (path_ == Path::pinned && !pin(fd, ports_[index % ports_.size()])) return false;
    return ::connect(fd, reinterpret_cast<const sockaddr*>(&destination_), sizeof destination_) ==
           0;
  }

  Path path_;
  std::vector<std::uint16_t> ports_;
  sockaddr_in destination_ = listen_address();
};

}  // namespace

int run_worker(Path path, int cpu) {
  die_with_parent();
  run_on_cpu(cpu);
  BlockRequest request;
  while (read_all(STDIN_FILENO, &request, sizeof request)) {
    std::vector<std::uint16_t> ports(request.ports);
    if (!read_all(STDIN_FILENO, ports.data(), ports.size() * sizeof ports[0])) return 1;
    if (path == Path::pinned && ports.empty()) return 1;
    Block block(path, std::move(ports));
    block.run(request.connects, std::uint64_t{request.budget_ms} * 1'000'000);
    const BlockReply reply{static_cast<std::uint32_t>(block.samples.size()), block.errors,
                           block.last_errno};
    if (!write_all(STDOUT_FILENO, &reply, sizeof reply) ||
        !write_all(STDOUT_FILENO, block.samples.data(),
                   block.samples.size() * sizeof block.samples[0])) {
      return 1;
    }
  }
  return 0;
}

}  // namespace portpool::bench
