#include "worker.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <stdexcept>
#include <system_error>

#include "loopback.h"

namespace portpool::bench {

Worker::Worker(const std::string& library, const std::string& socket) {
  pid_ = ::fork();
  if (pid_ == 0) become_worker(library, socket);
  if (pid_ < 0) throw std::system_error(errno, std::generic_category(), "fork");
  to_worker_.close_read_end();
  from_worker_.close_write_end();
}

Worker::~Worker() {
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

void Worker::become_worker(const std::string& library, const std::string& socket) {
  die_with_parent();
  ::dup2(to_worker_.read_end(), STDIN_FILENO);
  ::dup2(from_worker_.write_end(), STDOUT_FILENO);
  ::unsetenv("LD_PRELOAD");
  if (!library.empty()) {
    ::setenv("LD_PRELOAD", library.c_str(), 1);
    ::setenv("PORTPOOL_SOCKET", socket.c_str(), 1);
  }
  ::execl("/proc/self/exe", "bench_lanes", "--worker", nullptr);
  ::_exit(127);
}

void Worker::start(const Order& order) {
  if (!write_all(to_worker_.write_end(), &order, sizeof order)) {
    throw std::runtime_error("a worker has ended");
  }
}

Outcome Worker::finish(std::vector<std::uint64_t>* samples) {
  Outcome outcome;
  if (!read_all(from_worker_.read_end(), &outcome, sizeof outcome)) {
    throw std::runtime_error("a worker has ended");
  }
  std::vector<std::uint64_t> taken(outcome.samples);
  if (!read_all(from_worker_.read_end(), taken.data(), taken.size() * sizeof taken[0])) {
    throw std::runtime_error("a worker has ended");
  }
  if (samples != nullptr) samples->insert(samples->end(), taken.begin(), taken.end());
  return outcome;
}

}  // namespace portpool::bench
