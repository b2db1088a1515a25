// The floods: each a guest that does one thing as fast as it can until the line "stop", and then
// says how often it did it.
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <climits>
#include <functional>
#include <thread>

#include "base/descriptor.h"
#include "fault/hostile/attached_segment.h"
#include "support/guest.h"
#include "support/sockets.h"

namespace portpool::test {
namespace {

using std::chrono::microseconds;
using std::chrono::steady_clock;

bool is_told_to_stop() {
  pollfd input{STDIN_FILENO, POLLIN, 0};
  return poll(&input, 1, 0) == 1;
}

// `once` returns how often it did it: 0 where it was hindered.
void flood(const std::function<std::uint64_t()>& once) {
  say("floods");
  std::uint64_t count = 0;
  do {
    count += once();
  } while (!is_told_to_stop());
  await_line();
  say("count " + std::to_string(count));
}

Descriptor connection_to(const SocketAddress& server) {
  Descriptor socket(tcp_socket(server.family()));
  if (connect_error(socket.get(), server) != 0) return {};
  return socket;
}

}  // namespace

// attention SOCKET: all lanes ask for poold's look, each with ports in doubt, and every other time
// with so many refused claims that the lane is wrong as a whole.
GUEST(flood_attention) {
  constexpr auto kQuarantine = static_cast<std::size_t>(PortMapId::quarantine);
  constexpr std::size_t kWordsInDoubt = 24;  // some 1,500 ports: few enough to be looked up
  const AttachedSegment segment(arguments.at(0));
  const SegmentView& view = segment.view();
  std::uint64_t turn = 0;
  flood([&] {
    std::uint64_t asked = 0;
    ++turn;
    for (std::uint32_t i = 0; i < view.lane_count(); ++i) {
      const LaneInfo& info = view.lane_info(i);
      if (info.generation.load(std::memory_order_relaxed) == 0) continue;
      LaneHints& lane = view.lane_hints(i);
      const auto range = PortRange::unpack(info.ports.load(std::memory_order_relaxed));
      const std::size_t first = range.low / 64U + 1;
      for (std::size_t w = first; w < first + kWordsInDoubt; ++w) {
        lane.words[kQuarantine][w].store(~std::uint64_t{0}, std::memory_order_relaxed);
      }
      if (turn % 2 == 0) lane.rejections.fetch_add(8, std::memory_order_relaxed);
      lane.attention.store(1, std::memory_order_release);
      ++asked;
    }
    view.hints().doorbell.fetch_add(1, std::memory_order_release);
    syscall(SYS_futex, &view.hints().doorbell, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
    return asked;
  });
}

// visitors SOCKET: comes to the control socket and goes at once.
GUEST(flood_visitors) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  arguments.at(0).copy(name.sun_path, sizeof name.sun_path - 1);
  flood([&]() -> std::uint64_t {
    const Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    return ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) == 0 ? 1
                                                                                               : 0;
  });
}

// destinations FIRST LAST: connects to 127.x.y.z for each number in turn, round and round, where
// nobody listens. Under the shim.
GUEST(flood_destinations) {
  const std::uint32_t first = static_cast<std::uint32_t>(std::stoul(arguments.at(0)));
  const std::uint32_t last = static_cast<std::uint32_t>(std::stoul(arguments.at(1)));
  std::uint32_t next = first;
  flood([&] {
    SocketAddress destination("127.0.0.1:9");
    auto* v4 = reinterpret_cast<sockaddr_in*>(destination.raw());
    v4->sin_addr.s_addr = htonl((127U << 24) + 0x10000 + next);
    if (++next > last) next = first;
    const int fd = tcp_socket(AF_INET);
    CHECK_THAT(fd >= 0);
    connect_error(fd, destination);
    close(fd);
    return std::uint64_t{1};
  });
}

// steadily: connects 200 times a second to where nobody listens. Under the shim: who is flooded.
GUEST(flood_steadily) {
  const SocketAddress destination("127.0.0.1:9");
  flood([&] {
    const int fd = tcp_socket(AF_INET);
    CHECK_THAT(fd >= 0);
    connect_error(fd, destination);
    close(fd);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    return std::uint64_t{1};
  });
}

// hangups PID
GUEST(flood_hangups) {
  const pid_t pid = std::stoi(arguments.at(0));
  flood([&] {
    CHECK_THAT(kill(pid, SIGHUP) == 0);
    std::this_thread::sleep_for(microseconds(100));
    return std::uint64_t{1};
  });
}

// scrapes ADDRESS: takes the page of metrics; one visitor in four says nothing and stays a while.
GUEST(flood_scrapes) {
  const SocketAddress server(arguments.at(0));
  std::vector<Descriptor> silent(8);
  std::uint64_t turn = 0;
  flood([&] {
    Descriptor socket = connection_to(server);
    if (!socket) return std::uint64_t{0};
    if (++turn % 4 == 0) {
      silent[turn / 4 % silent.size()] = std::move(socket);
      return std::uint64_t{1};
    }
    const std::string request = "GET /metrics HTTP/1.1\r\nHost: flood\r\n\r\n";
    send(socket.get(), request.data(), request.size(), MSG_NOSIGNAL);
    const timeval patience{2, 0};
    setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    char page[65536];
    while (recv(socket.get(), page, sizeof page, 0) > 0) {
    }
    return std::uint64_t{1};
  });
}

// programs EACH-US SOCKET: one program under the shim after the other, which attaches and ends; one
// every so many microseconds.
GUEST(flood_programs) {
  const microseconds pause(std::stoi(arguments.at(0)));
  std::vector<std::string> environment = preload_environment();
  environment.push_back("PORTPOOL_SOCKET=" + arguments.at(1));
  std::vector<char*> variables;
  for (std::string& variable : environment) variables.push_back(variable.data());
  variables.push_back(nullptr);
  std::string program = "/bin/true";
  char* words[] = {program.data(), nullptr};
  auto due = steady_clock::now();
  flood([&] {
    due += pause;
    std::this_thread::sleep_until(due);
    pid_t pid = -1;
    CHECK_THAT(posix_spawn(&pid, words[0], nullptr, nullptr, words, variables.data()) == 0);
    while (waitpid(-1, nullptr, WNOHANG) > 0) {
    }
    return std::uint64_t{1};
  });
}

// work: a busy loop.
GUEST(flood_work) {
  flood([] {
    volatile std::uint32_t sum = 0;
    for (std::uint32_t i = 0; i < 10'000'000; ++i) sum = sum + i;
    return std::uint64_t{1};
  });
}

}  // namespace portpool::test
