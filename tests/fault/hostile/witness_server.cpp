#include "fault/hostile/witness_server.h"

#include <netinet/in.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "support/sockets.h"

namespace portpool::test {
namespace {

int listener_on(std::uint16_t port) {
  const int listener = tcp_socket(AF_INET6, SOCK_NONBLOCK);
  const int off = 0;
  const int on = 1;
  setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind_error(listener, SocketAddress("[::]:" + std::to_string(port))) != 0 ||
      listen(listener, 4096) != 0) {
    throw std::system_error(errno, std::generic_category(), "the witness cannot listen");
  }
  return listener;
}

void watch(int poller, int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
}

bool testify(int fd) {
  const SocketAddress client = peer_address(fd);
  const SocketAddress server = local_address(fd);
  Testimony testimony;
  return endpoint_from_sockaddr(client.raw(), client.length, testimony.client) &&
         endpoint_from_sockaddr(server.raw(), server.length, testimony.server) &&
         send(fd, &testimony, sizeof testimony, MSG_NOSIGNAL) == sizeof testimony;
}

void accept_all(int poller, int listener) {
  for (;;) {
    const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) return;
    if (testify(fd)) {
      watch(poller, fd);
    } else {
      close(fd);
    }
  }
}

void echo(int fd) {
  char buffer[512];
  const ssize_t got = recv(fd, buffer, sizeof buffer, 0);
  if (got < 0 && errno == EAGAIN) return;
  if (got <= 0 || send(fd, buffer, static_cast<std::size_t>(got), MSG_NOSIGNAL) != got) close(fd);
}

[[noreturn]] void serve(const std::vector<int>& listeners) {
  const int poller = epoll_create1(EPOLL_CLOEXEC);
  for (const int listener : listeners) watch(poller, listener);
  for (;;) {
    epoll_event events[64];
    const int count = epoll_wait(poller, events, 64, -1);
    for (int i = 0; i < count; ++i) {
      const int fd = events[i].data.fd;
      if (std::find(listeners.begin(), listeners.end(), fd) != listeners.end()) {
        accept_all(poller, fd);
      } else {
        echo(fd);
      }
    }
  }
}

}  // namespace

WitnessServer::WitnessServer(const std::vector<std::uint16_t>& ports) {
  std::vector<int> listeners;
  for (const std::uint16_t port : ports) listeners.push_back(listener_on(port));
  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ < 0) throw std::system_error(errno, std::generic_category(), "fork");
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    serve(listeners);
  }
  for (const int listener : listeners) close(listener);
}

WitnessServer::~WitnessServer() {
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

}  // namespace portpool::test
