#include "held.h"

#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <stdexcept>

#include "loopback.h"
#include "pipe_io.h"

namespace portpool::bench {
namespace {

// Descriptors that a holder has besides its connections, generously.
constexpr std::size_t kOtherDescriptors = 128;

// Connections one process can hold, both ends of each.
std::size_t connections_per_process() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  const std::size_t files = std::clamp<std::size_t>(limit.rlim_max, 512, 20000);
  return (files - kOtherDescriptors) / 2;
}

// The local port of a new connection whose two ends stay open in this process; 0 on failure.
std::uint16_t open_pair(int listener) {
  sockaddr_in address = listen_address();
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0 || ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return 0;
  // The last packet of the handshake may be on its way still, and the listener does not wait.
  pollfd ready{listener, POLLIN, 0};
  if (::poll(&ready, 1, 1000) != 1 || ::accept(listener, nullptr, nullptr) < 0) return 0;
  socklen_t length = sizeof address;
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length);
  return ntohs(address.sin_port);
}

[[noreturn]] void hold(int listener, int out, std::size_t count) {
  die_with_parent();
  std::vector<std::uint16_t> ports(count);
  for (std::uint16_t& port : ports) {
    port = open_pair(listener);
    if (port == 0) ::_exit(1);
  }
  if (!write_all(out, ports.data(), ports.size() * sizeof ports[0])) ::_exit(1);
  for (;;) ::pause();
}

}  // namespace

HeldConnections::~HeldConnections() {
  for (const pid_t pid : holders_) ::kill(pid, SIGKILL);
  for (const pid_t pid : holders_) ::waitpid(pid, nullptr, 0);
}

void HeldConnections::grow_to(std::size_t count) {
  const std::size_t most = connections_per_process();
  while (ports_.size() < count) add(std::min(most, count - ports_.size()));
}

void HeldConnections::add(std::size_t count) {
  Pipe pipe;
  const pid_t pid = ::fork();
  if (pid == 0) hold(listener_, pipe.write_end(), count);
  if (pid < 0) throw std::runtime_error("cannot start a process that holds connections");
  holders_.push_back(pid);
  pipe.close_write_end();
  const std::size_t before = ports_.size();
  ports_.resize(before + count);
  if (!read_all(pipe.read_end(), ports_.data() + before, count * sizeof ports_[0])) {
    throw std::runtime_error("the kernel refused a connection that was to be held");
  }
}

}  // namespace portpool::bench
