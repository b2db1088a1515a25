// The guest behind Client. Each line it reads is a command; it answers each with one line,
// "#N answer", N counting from 0.
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <functional>
#include <map>
#include <sstream>
#include <vector>

#include "portpool/linux.h"
#include "support/guest.h"
#include "support/sockets.h"

namespace portpool::test {
namespace {

std::vector<int> held;
int channel[2] = {-1, -1};

std::string next(std::istream& words) {
  std::string word;
  words >> word;
  return word;
}

int next_fd(std::istream& words) {
  int fd = -1;
  words >> fd;
  CHECK_THAT(fd >= 0);
  return fd;
}

// The same for one that is about to be closed.
int take_fd(std::istream& words) {
  const int fd = next_fd(words);
  std::erase(held, fd);
  return fd;
}

std::string done(int result) { return result == 0 ? "ok" : error_name(errno); }

// connect DESTINATION [SOURCE [late]]: "ok FD LOCAL", or the error's name. late: bind() takes no
// port, which leaves it to others for other destinations.
std::string connect_one(std::istream& words) {
  const SocketAddress destination(next(words));
  const std::string source = next(words);
  const int fd = tcp_socket(destination.family());
  CHECK_THAT(fd >= 0);
  const int late = next(words) == "late" ? 1 : 0;
  if (late != 0) {
    CHECK_THAT(setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &late, sizeof late) == 0);
  }
  if (!source.empty()) CHECK_THAT(bind_error(fd, SocketAddress(source + ":0")) == 0);
  if (const int error = connect_error(fd, destination); error != 0) {
    close(fd);
    return error_name(error);
  }
  held.push_back(fd);
  return "ok " + std::to_string(fd) + " " + local_address(fd).text();
}

// hold DESTINATION COUNT: how many connects succeeded.
std::string hold(std::istream& words) {
  const SocketAddress destination(next(words));
  const int wanted = std::stoi(next(words));
  int count = 0;
  for (int i = 0; i < wanted; ++i) {
    const int fd = connected_socket(destination);
    if (fd < 0) continue;
    held.push_back(fd);
    ++count;
  }
  return std::to_string(count);
}

// ports DESTINATION COUNT: connects and resets; the local address of each, or its error.
std::string ports(std::istream& words) {
  const SocketAddress destination(next(words));
  const int wanted = std::stoi(next(words));
  std::string answer;
  for (int i = 0; i < wanted; ++i) {
    const int fd = connected_socket(destination);
    answer += (fd < 0 ? error_name(errno) : local_address(fd).text()) + " ";
    if (fd >= 0) close_with_reset(fd);
  }
  return answer;
}

std::string close_one(std::istream& words) { return done(close(take_fd(words))); }
std::string close_raw(std::istream& words) {
  return done(static_cast<int>(syscall(SYS_close, take_fd(words))));
}
std::string close_by_range(std::istream& words) {
  const auto fd = static_cast<unsigned>(take_fd(words));
  return done(close_range(fd, fd, 0));
}
std::string reset(std::istream& words) {
  close_with_reset(take_fd(words));
  return "ok";
}
std::string reset_all(std::istream&) {
  for (const int fd : held) close_with_reset(fd);
  held.clear();
  return "ok";
}

// await_eof FD: the peer has closed.
std::string await_eof(std::istream& words) {
  char byte = 0;
  return done(static_cast<int>(recv(next_fd(words), &byte, 1, 0)));
}
std::string echo(std::istream& words) {
  return echo_round_trip(next_fd(words)) ? "ok" : error_name(errno);
}
std::string duplicate(std::istream& words) { return std::to_string(dup(next_fd(words))); }

// Sockets by hand: open; try FD DESTINATION; name FD.
std::string open_one(std::istream&) { return std::to_string(tcp_socket(AF_INET)); }
std::string try_one(std::istream& words) {
  const int fd = next_fd(words);
  return error_name(connect_error(fd, SocketAddress(next(words))));
}
std::string name(std::istream& words) { return local_address(next_fd(words)).text(); }
int option_of(int fd, int level, int option) {
  int value = -1;
  socklen_t length = sizeof value;
  // By a system call: the library shows what the program has set.
  CHECK_THAT(syscall(SYS_getsockopt, fd, level, option, &value, &length) == 0);
  return value;
}

// options FD: those that a pool may set.
std::string options(std::istream& words) {
  const int fd = next_fd(words);
  return "range " + std::to_string(option_of(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE)) + " no_port " +
         std::to_string(option_of(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT)) + " reuse " +
         std::to_string(option_of(fd, SOL_SOCKET, SO_REUSEADDR));
}

// first_ok DESTINATION COUNT: connects until that succeeds, then COUNT times more, without a pause;
// holds them. How each of those COUNT ended.
std::string first_ok(std::istream& words) {
  const SocketAddress destination(next(words));
  const int wanted = std::stoi(next(words));
  std::string answer;
  int fd = -1;
  while ((fd = connected_socket(destination)) < 0) CHECK_THAT(errno == EADDRNOTAVAIL);
  held.push_back(fd);
  for (int i = 0; i < wanted; ++i) {
    fd = connected_socket(destination);
    answer += (fd < 0 ? error_name(errno) : "ok") + " ";
    if (fd >= 0) held.push_back(fd);
  }
  return answer;
}

// send FD: into a channel that holds it; receive: out of it again, under a new number.
std::string send_one(std::istream& words) {
  const int fd = next_fd(words);
  if (channel[0] < 0) CHECK_THAT(socketpair(AF_UNIX, SOCK_STREAM, 0, channel) == 0);
  CHECK_THAT(pass_descriptor(channel[0], fd));
  return "ok";
}
std::string receive(std::istream&) {
  const int fd = take_descriptor(channel[1]);
  CHECK_THAT(fd >= 0);
  return std::to_string(fd);
}

// fork: a child that keeps every descriptor until `kill PID`.
std::string fork_one(std::istream&) {
  const pid_t child = fork();
  CHECK_THAT(child >= 0);
  if (child == 0) {
    for (;;) pause();
  }
  return std::to_string(child);
}
std::string kill_one(std::istream& words) {
  const pid_t child = std::stoi(next(words));
  kill(child, SIGKILL);
  return done(waitpid(child, nullptr, 0) == child ? 0 : -1);
}

// prefork CHILDREN DESTINATION COUNT: each child connects, echoes and resets COUNT times.
std::string prefork(std::istream& words) {
  const int children = std::stoi(next(words));
  const SocketAddress destination(next(words));
  const int count = std::stoi(next(words));
  for (int child = 0; child < children; ++child) {
    const pid_t pid = fork();
    CHECK_THAT(pid >= 0);
    if (pid > 0) continue;
    for (int i = 0; i < count; ++i) {
      const int fd = connected_socket(destination);
      CHECK_THAT(fd >= 0 && echo_round_trip(fd));
      close_with_reset(fd);
    }
    _exit(0);
  }
  bool good = true;
  for (int child = 0; child < children; ++child) {
    int status = -1;
    good = wait(&status) > 0 && status == 0 && good;
  }
  return good ? "ok" : "a child failed";
}

const std::map<std::string, std::function<std::string(std::istream&)>> kCommands = {
    {"connect", connect_one}, {"hold", hold},           {"ports", ports},
    {"close", close_one},     {"close_raw", close_raw}, {"close_range", close_by_range},
    {"reset", reset},         {"reset_all", reset_all}, {"await_eof", await_eof},
    {"echo", echo},           {"dup", duplicate},       {"open", open_one},
    {"try", try_one},         {"name", name},           {"send", send_one},
    {"receive", receive},     {"fork", fork_one},       {"kill", kill_one},
    {"prefork", prefork},     {"options", options},     {"first_ok", first_ok},
};

// exec: becomes a new puppet by execv(), which goes on counting; open sockets stay open.
[[noreturn]] void become_new(int next_number) {
  for (const int fd : held) fcntl(fd, F_SETFD, 0);
  become_guest("puppet", {std::to_string(next_number)});
}

}  // namespace

GUEST(puppet) {
  int number = 0;
  if (!arguments.empty()) {
    number = std::stoi(arguments.at(0));
    say("#" + std::to_string(number++) + " ok");
  }
  for (;; ++number) {
    std::istringstream words(await_line());
    const std::string command = next(words);
    if (command == "exec") become_new(number);
    say("#" + std::to_string(number) + " " + kCommands.at(command)(words));
  }
}

}  // namespace portpool::test
