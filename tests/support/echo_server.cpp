#include "support/echo_server.h"

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

#include "base/descriptor.h"
#include "support/sockets.h"

namespace portpool::test {
namespace {

[[noreturn]] void fail(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

Descriptor listener_on(std::uint16_t port) {
  Descriptor listener(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener) fail("socket");
  const int off = 0;
  const int on = 1;
  setsockopt(listener.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in6 any{};
  any.sin6_family = AF_INET6;
  any.sin6_port = htons(port);
  if (bind(listener.get(), reinterpret_cast<const sockaddr*>(&any), sizeof any) != 0) fail("bind");
  // Cut down to net.core.somaxconn by the kernel (4096, unless the test raises it).
  if (listen(listener.get(), 65535) != 0) fail("listen");
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

void accept_all(int poller, int listener, Answer answer) {
  for (;;) {
    const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) return;
    if (answer == Answer::close_first || (answer == Answer::testify && !testify(fd))) {
      close(fd);
    } else {
      watch(poller, fd);
    }
  }
}

void echo(int fd) {
  char buffer[4096];
  const ssize_t got = recv(fd, buffer, sizeof buffer, 0);
  if (got < 0 && errno == EAGAIN) return;
  if (got <= 0 || send(fd, buffer, static_cast<std::size_t>(got), MSG_NOSIGNAL) != got) close(fd);
}

[[noreturn]] void serve(const std::vector<Descriptor>& listeners, Answer answer) {
  if (answer == Answer::silent) {
    for (;;) pause();
  }
  const int poller = epoll_create1(EPOLL_CLOEXEC);
  for (const Descriptor& listener : listeners) watch(poller, listener.get());
  for (;;) {
    epoll_event events[64];
    const int count = epoll_wait(poller, events, 64, -1);
    for (int i = 0; i < count; ++i) {
      const int fd = events[i].data.fd;
      if (std::any_of(listeners.begin(), listeners.end(),
                      [fd](const Descriptor& listener) { return listener.get() == fd; })) {
        accept_all(poller, fd, answer);
      } else {
        echo(fd);
      }
    }
  }
}

}  // namespace

EchoServer::EchoServer(const std::vector<std::uint16_t>& ports, Answer answer) {
  std::vector<Descriptor> listeners;
  for (const std::uint16_t port : ports) listeners.push_back(listener_on(port));
  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ < 0) fail("fork");
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    serve(listeners, answer);
  }
}

EchoServer::~EchoServer() {
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

}  // namespace portpool::test
