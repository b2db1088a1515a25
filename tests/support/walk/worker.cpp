#include "support/walk/worker.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <stdexcept>
#include <system_error>
#include <vector>

namespace portpool::test {

Worker::Worker(const Under& under, int lifeline) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    throw std::system_error(errno, std::generic_category(), "socketpair");
  }
  control_ = Descriptor(ends[0]);
  const Descriptor workers_end(ends[1]);
  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ < 0) throw std::system_error(errno, std::generic_category(), "fork");
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(127);
    become_worker(under, workers_end.get(), lifeline);
  }
  const timeval patience{60, 0};
  setsockopt(control_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
}

Worker::~Worker() {
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

void Worker::become_worker(const Under& under, int control, int lifeline) {
  std::vector<std::string> environment;
  if (under.shim) environment = preload_environment();
  environment.insert(environment.end(), under.environment.begin(), under.environment.end());
  for (std::string& entry : environment) putenv(entry.data());
  dup2(control, STDIN_FILENO);
  dup2(control, STDOUT_FILENO);
  if (dup2(lifeline, kLifeline) == kLifeline) fcntl(kLifeline, F_SETFD, 0);
  become_guest("walk_worker");
}

void Worker::send(const std::string& command) {
  const std::string line = command + "\n";
  if (::send(control_.get(), line.data(), line.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(line.size())) {
    throw std::system_error(errno, std::generic_category(), "to a worker: " + command);
  }
}

bool Worker::says_something_within(std::chrono::milliseconds patience) const {
  pollfd said{control_.get(), POLLIN, 0};
  return received_.find('\n') != std::string::npos ||
         poll(&said, 1, static_cast<int>(patience.count())) == 1;
}

std::string Worker::answer() {
  std::size_t end = 0;
  while ((end = received_.find('\n')) == std::string::npos) {
    char chunk[4096];
    const ssize_t got = recv(control_.get(), chunk, sizeof chunk, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      throw std::runtime_error("worker " + std::to_string(pid_) +
                               (got == 0 ? " has ended" : " does not answer"));
    }
    received_.append(chunk, static_cast<std::size_t>(got));
  }
  const std::string line = received_.substr(0, end);
  received_.erase(0, end + 1);
  return line;
}

}  // namespace portpool::test
