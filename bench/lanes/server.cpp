#include "server.h"

#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <stdexcept>

#include "loopback.h"
#include "pipe_io.h"
#include "portpool/linux.h"

namespace portpool::bench {
namespace {

// Descriptors that a process has besides its connections, generously.
constexpr std::size_t kOtherDescriptors = 128;

std::size_t raise_file_limit() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  return std::clamp<std::size_t>(limit.rlim_max, 512, 20000) - kOtherDescriptors;
}

void watch(int poller, int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  ::epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
}

void accept_one(int poller, int listener, Serving serving, std::size_t& room) {
  if (room == 0) {
    // The others have room left.
    ::epoll_ctl(poller, EPOLL_CTL_DEL, listener, nullptr);
    return;
  }
  const int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) return;
  if (serving == Serving::close_first) {
    ::close(fd);
    return;
  }
  if (serving == Serving::greet) ::send(fd, "!", 1, MSG_NOSIGNAL);
  if (serving == Serving::keep) {
    --room;
  } else {
    watch(poller, fd);
  }
}

[[noreturn]] void serve(int listener, Serving serving) {
  die_with_parent();
  std::size_t room = raise_file_limit();
  const int poller = ::epoll_create1(EPOLL_CLOEXEC);
  watch(poller, listener);
  for (;;) {
    epoll_event events[64];
    const int count = ::epoll_wait(poller, events, 64, -1);
    for (int i = 0; i < count; ++i) {
      const int fd = events[i].data.fd;
      if (fd == listener) {
        accept_one(poller, listener, serving, room);
      } else {
        ::close(fd);
      }
    }
  }
}

bool open_pair(int listener, std::uint16_t port) {
  const sockaddr_in address = listen_address();
  const std::uint32_t range = std::uint32_t{port} << 16 | port;
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0 || ::setsockopt(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, &range, sizeof range) != 0 ||
      ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return false;
  }
  // The last packet of the handshake may be on its way still, and the listener does not wait.
  pollfd ready{listener, POLLIN, 0};
  return ::poll(&ready, 1, 1000) == 1 && ::accept(listener, nullptr, nullptr) >= 0;
}

[[noreturn]] void occupy(int listener, int out, std::uint16_t first, std::size_t count) {
  die_with_parent();
  raise_file_limit();
  for (std::size_t i = 0; i < count; ++i) {
    if (!open_pair(listener, static_cast<std::uint16_t>(first + i))) ::_exit(1);
  }
  const char done = 1;
  if (!write_all(out, &done, 1)) ::_exit(1);
  for (;;) ::pause();
}

void end_all(const std::vector<pid_t>& pids) {
  for (const pid_t pid : pids) ::kill(pid, SIGKILL);
  for (const pid_t pid : pids) ::waitpid(pid, nullptr, 0);
}

}  // namespace

Server::Server(int listener, Serving serving, int processes) {
  for (int i = 0; i < processes; ++i) {
    const pid_t pid = ::fork();
    if (pid == 0) serve(listener, serving);
    if (pid < 0) throw std::runtime_error("cannot start a server process");
    pids_.push_back(pid);
  }
}

Server::~Server() { end_all(pids_); }

Occupied::Occupied(int listener, std::uint16_t first, std::size_t count) {
  const std::size_t most = raise_file_limit() / 2;
  for (std::size_t done = 0; done < count; done += most) {
    add(listener, static_cast<std::uint16_t>(first + done), std::min(most, count - done));
  }
}

Occupied::~Occupied() { end_all(pids_); }

void Occupied::add(int listener, std::uint16_t first, std::size_t count) {
  Pipe pipe;
  const pid_t pid = ::fork();
  if (pid == 0) occupy(listener, pipe.write_end(), first, count);
  if (pid < 0) throw std::runtime_error("cannot start a process that holds connections");
  pids_.push_back(pid);
  pipe.close_write_end();
  char done = 0;
  if (!read_all(pipe.read_end(), &done, 1)) {
    end_all(pids_);
    throw std::runtime_error("a port that was to be held cannot be had");
  }
}

}  // namespace portpool::bench
