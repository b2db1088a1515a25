// The worker's own side: what worker.h lists, with plain socket calls.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <sstream>

#include "support/sockets.h"
#include "support/walk/worker.h"

namespace portpool::test {
namespace {

class WorkerGuest {
 public:
  void obey(const std::string& line) {
    std::istringstream words(line);
    std::string command;
    words >> command;
    if (command == "connect") {
      int id = 0;
      std::string destination;
      std::string how;
      words >> id >> destination >> how;
      say(connect_one(id, SocketAddress(destination), how));
    } else if (command == "probe") {
      std::string destination;
      std::string how;
      words >> destination >> how;
      say(probe(SocketAddress(destination), how));
    } else if (command == "close") {
      int id = 0;
      std::string how;
      words >> id >> how;
      close_one(id, how);
      say("closed");
    } else if (command == "echo-all") {
      say(echo_all());
    } else if (command == "fork") {
      say("child " + std::to_string(fork_holder()));
    } else if (command == "bind") {
      int id = 0;
      std::string address;
      std::string how;
      words >> id >> address >> how;
      say(bind_one(id, SocketAddress(address), how));
    } else {
      say("what? " + line);
    }
  }

 private:
  static std::string failed(int error, int port) {
    return "failed " + std::to_string(error) + " " + std::to_string(port);
  }

  // "127.0.0.1", "::1"
  static std::string host_of(const SocketAddress& address) {
    const std::string host = address.text().substr(0, address.text().rfind(':'));
    return host.starts_with('[') ? host.substr(1, host.size() - 2) : host;
  }

  static int connect_as(int fd, const SocketAddress& destination, const std::string& how) {
    if (how == "bound") {
      const bool v4 = destination.family() == AF_INET;
      const int error = bind_error(fd, SocketAddress(v4 ? "127.0.0.1:0" : "[::1]:0"));
      if (error != 0) return error;
    }
    int error = connect_error(fd, destination);
    if (error == EINPROGRESS) error = finish_connect(fd);
    fcntl(fd, F_SETFL, 0);
    const timeval patience{30, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    return error;
  }

  std::string connect_one(int id, const SocketAddress& destination, const std::string& how) {
    const int fd = tcp_socket(destination.family(), how == "nonblocking" ? SOCK_NONBLOCK : 0);
    const int error = connect_as(fd, destination, how);
    const std::uint16_t port = local_port(fd);
    if (error != 0) {
      close(fd);
      return failed(error, port);
    }
    connections_[id] = fd;
    if (!comes_back(id, fd)) return "wrong-echo " + std::to_string(port);
    if (how == "lingering") {
      // Whatever ends it leaves no TIME_WAIT.
      const linger at_once{1, 0};
      setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    }
    return "ok " + std::to_string(port) + " " + host_of(local_address(fd));
  }

  // Natively the same connection could have been made at once.
  static std::string probe(const SocketAddress& destination, const std::string& how) {
    const int fd = tcp_socket(destination.family(), how == "nonblocking" ? SOCK_NONBLOCK : 0);
    const int error = connect_as(fd, destination, how);
    const std::uint16_t port = local_port(fd);
    close_with_reset(fd);
    return error != 0 ? failed(error, port) : "ok " + std::to_string(port);
  }

  // Bytes that no other connection sends.
  static bool comes_back(int id, int fd) {
    std::string sent = "connection " + std::to_string(id) + " of " + std::to_string(getpid());
    sent.resize(64, '.');
    if (send(fd, sent.data(), sent.size(), MSG_NOSIGNAL) != 64) return false;
    char back[64] = "";
    return recv(fd, back, sizeof back, MSG_WAITALL) == 64 && sent == std::string(back, 64);
  }

  void close_one(int id, const std::string& how) {
    const int fd = connections_.at(id);
    connections_.erase(id);
    if (how == "reset") {
      close_with_reset(fd);
    } else if (how == "raw") {
      syscall(SYS_close, fd);
    } else {
      close(fd);
    }
  }

  std::string echo_all() {
    int count = 0;
    for (const auto& [id, fd] : connections_) {
      if (peer_address(fd).family() == 0) continue;  // bound only
      if (!comes_back(id, fd)) return "wrong " + std::to_string(id);
      ++count;
    }
    return "ok " + std::to_string(count);
  }

  static int fork_holder() {
    const pid_t child = fork();
    if (child != 0) return child;
    // The driver must see the worker's end.
    close(STDIN_FILENO);
    close(STDOUT_FILENO);
    pollfd lifeline{kLifeline, 0, 0};
    poll(&lifeline, 1, -1);
    _exit(0);
  }

  std::string bind_one(int id, const SocketAddress& address, const std::string& how) {
    const int fd = tcp_socket(address.family());
    const int error = bind_error(fd, address);
    if (error != 0 || (how == "listen" && listen(fd, 1) != 0)) {
      close(fd);
      return failed(error, 0);
    }
    connections_[id] = fd;
    return "ok";
  }

  std::map<int, int> connections_;
};

}  // namespace

GUEST(walk_worker) {
  signal(SIGCHLD, SIG_IGN);
  WorkerGuest guest;
  for (;;) guest.obey(await_line());
}

}  // namespace portpool::test
