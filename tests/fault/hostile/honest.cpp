// The guest `honest`: connects all the time, and judges each connection by what the kernel's own
// path would have given.
//
//   honest SEED      until the line "stop"; to the line "count N" it answers "#N CONNECTS"; to
//                    "pause N", too, and waits for another line. What is wrong it says at once, in
//                    a line that begins with "WRONG".
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <random>
#include <stdexcept>

#include "base/address_text.h"
#include "fault/hostile/scene.h"
#include "portpool/lane.h"
#include "support/echo_server.h"
#include "support/guest.h"
#include "support/sockets.h"

namespace portpool::test {
namespace {

constexpr std::size_t kHeld = 80;
constexpr int kMostComplaints = 20;

Endpoint endpoint_of(const SocketAddress& address) {
  Endpoint endpoint;
  endpoint_from_sockaddr(address.raw(), address.length, endpoint);
  return endpoint;
}

// What routing says, asked by a datagram socket past every interposed function.
Address routed_source(const SocketAddress& destination) {
  const int fd = socket(destination.family(), SOCK_DGRAM | SOCK_CLOEXEC, 0);
  CHECK_THAT(syscall(SYS_connect, fd, destination.raw(), destination.length) == 0);
  const Endpoint local = endpoint_of(local_address(fd));
  close(fd);
  return local.address;
}

struct Target {
  SocketAddress destination;
  SocketAddress bind_to;
  std::vector<Address> sources;
  bool own_range;
};

Target prepare(const HonestTarget& plan) {
  Target target{SocketAddress(plan.destination), {}, {}, plan.own_range};
  if (plan.source.empty()) {
    target.sources.push_back(routed_source(target.destination));
  } else {
    target.bind_to = SocketAddress(plan.source + ":0");
    target.sources.push_back(endpoint_of(target.bind_to).address);
  }
  for (const std::string& source : plan.pools) target.sources.push_back(*parse_address(source));
  return target;
}

bool receive(int fd, void* bytes, std::size_t size) {
  return recv(fd, bytes, size, MSG_WAITALL) == static_cast<ssize_t>(size);
}

struct Connection {
  int fd = -1;
  std::uint64_t token = 0;
};

class Honest {
 public:
  explicit Honest(std::uint64_t seed) : random_(seed), nobody_(nobody()) {
    for (const HonestTarget& plan : kTargets) targets_.push_back(prepare(plan));
  }

  std::uint64_t connects() const { return connects_; }

  void step() {
    ++connects_;
    if (pick(16) == 0) return connect_to_nobody();
    const Target& target = targets_[pick(targets_.size())];
    const int fd = connect_to(target);
    if (fd < 0) return;
    held_.push_back({fd, random_()});
    if (judge(fd, target)) echo(held_.back());
    if (pick(4) == 0) echo(held_[pick(held_.size())]);
    while (held_.size() > kHeld || (!held_.empty() && pick(2) == 0)) close_one(pick(held_.size()));
  }

 private:
  static SocketAddress nobody() {
    return SocketAddress("127.0.0.1:" + std::to_string(kNobodysPort));
  }
  std::size_t pick(std::size_t count) { return random_() % count; }

  void complain(const std::string& what, const SocketAddress& destination,
                const std::string& detail) {
    if (++complaints_ > kMostComplaints) return;
    say("WRONG " + what + " toward " + destination.text() + ": " + detail);
  }

  // By every second call, a socket that does not block.
  int attempt(const SocketAddress& destination, const SocketAddress* source, int& error) {
    const bool blocks = pick(2) == 0;
    const int fd = tcp_socket(destination.family(), blocks ? 0 : SOCK_NONBLOCK);
    CHECK_THAT(fd >= 0);
    error = source != nullptr ? bind_error(fd, *source) : 0;
    if (error == 0) error = connect_error(fd, destination);
    if (error == EINPROGRESS && !blocks) error = finish_connect(fd);
    if (!blocks) fcntl(fd, F_SETFL, 0);
    const timeval patience{60, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    return fd;
  }

  int connect_to(const Target& target) {
    int error = 0;
    const bool bound = target.bind_to.length != 0;
    const int fd = attempt(target.destination, bound ? &target.bind_to : nullptr, error);
    if (error == 0) return fd;
    complain("failed", target.destination, error_name(error));
    close(fd);
    return -1;
  }

  void connect_to_nobody() {
    int error = 0;
    const int fd = attempt(nobody_, nullptr, error);
    if (error != ECONNREFUSED) complain("nobody", nobody_, error_name(error));
    close_with_reset(fd);
  }

  bool judge(int fd, const Target& target) {
    const Endpoint destination = endpoint_of(target.destination);
    const Endpoint local = endpoint_of(local_address(fd));
    const std::string text = to_text(local);
    const bool in_range = local.port >= kLow && local.port <= kHigh;
    const bool in_own = target.own_range && local.port >= kOwnLow && local.port <= kOwnHigh;
    if (local.port < kLowestPort) complain("privileged", target.destination, text);
    if (!in_range && !in_own) complain("out of range", target.destination, text);
    if (std::find(target.sources.begin(), target.sources.end(), local.address) ==
        target.sources.end()) {
      complain("foreign source", target.destination, text);
    }
    Testimony seen;
    if (!receive(fd, &seen, sizeof seen)) {
      complain("silent", target.destination, text);
      return false;
    }
    if (seen.client != local || seen.server != destination ||
        endpoint_of(peer_address(fd)) != destination) {
      complain("wrong connection", target.destination,
               text + ", but the server: " + to_text(seen.client) + " to " + to_text(seen.server));
    }
    return true;
  }

  void echo(const Connection& connection) {
    std::uint64_t back = 0;
    if (send(connection.fd, &connection.token, sizeof back, MSG_NOSIGNAL) != sizeof back ||
        !receive(connection.fd, &back, sizeof back) || back != connection.token) {
      complain("wrong echo", peer_address(connection.fd),
               to_text(endpoint_of(local_address(connection.fd))));
    }
  }

  void close_one(std::size_t index) {
    const int fd = held_[index].fd;
    held_[index] = held_.back();
    held_.pop_back();
    switch (pick(8)) {
      case 0:  // TIME_WAIT
        close(fd);
        break;
      case 1: {  // a close that no library sees
        const linger reset{1, 0};
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        syscall(SYS_close, fd);
        break;
      }
      default:
        close_with_reset(fd);
    }
  }

  std::mt19937_64 random_;
  const SocketAddress nobody_;
  std::vector<Target> targets_;
  std::vector<Connection> held_;
  std::uint64_t connects_ = 0;
  int complaints_ = 0;
};

bool line_waits() {
  pollfd input{STDIN_FILENO, POLLIN, 0};
  return poll(&input, 1, 0) == 1;
}

}  // namespace

GUEST(honest) {
  // Else getchar() would keep a second line from poll().
  setvbuf(stdin, nullptr, _IONBF, 0);
  Honest honest(std::strtoull(arguments.at(0).c_str(), nullptr, 10));
  say("begins");
  for (;;) {
    if (line_waits()) {
      const std::string line = await_line();
      if (line == "stop") return;
      say("#" + line.substr(line.find(' ') + 1) + " " + std::to_string(honest.connects()));
      if (line.starts_with("pause")) await_line();
    }
    honest.step();
    usleep(2000 + static_cast<useconds_t>(std::rand() % 4000));
  }
}

}  // namespace portpool::test
