#include "arm.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <stdexcept>
#include <system_error>

#include "loopback.h"

namespace portpool::bench {

Arm::Arm(ArmSpec spec, int cpu) : spec_(std::move(spec)) {
  pid_ = ::fork();
  if (pid_ == 0) become_worker(cpu);
  if (pid_ < 0) throw std::system_error(errno, std::generic_category(), "fork");
  to_worker_.close_read_end();
  from_worker_.close_write_end();
}

Arm::~Arm() {
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

void Arm::become_worker(int cpu) {
  die_with_parent();
  ::dup2(to_worker_.read_end(), STDIN_FILENO);
  ::dup2(from_worker_.write_end(), STDOUT_FILENO);
  for (const auto& [name, value] : spec_.environment) ::setenv(name.c_str(), value.c_str(), 1);
  const std::string path = spec_.path == Path::pinned ? "pinned" : "plain";
  ::execl("/proc/self/exe", "bench_connect", "--worker", path.c_str(), std::to_string(cpu).c_str(),
          nullptr);
  ::_exit(127);
}

BlockResult Arm::run(std::uint32_t connects, std::uint32_t budget_ms,
                     const std::vector<std::uint16_t>& free_ports) {
  const BlockRequest request{connects, budget_ms, static_cast<std::uint32_t>(free_ports.size())};
  BlockReply reply;
  if (!write_all(to_worker_.write_end(), &request, sizeof request) ||
      !write_all(to_worker_.write_end(), free_ports.data(),
                 free_ports.size() * sizeof free_ports[0]) ||
      !read_all(from_worker_.read_end(), &reply, sizeof reply)) {
    throw std::runtime_error("the worker of arm " + spec_.name + " has ended");
  }
  BlockResult result;
  result.errors = reply.errors;
  result.last_errno = reply.last_errno;
  result.samples.resize(reply.samples);
  if (!read_all(from_worker_.read_end(), result.samples.data(),
                result.samples.size() * sizeof result.samples[0])) {
    throw std::runtime_error("the worker of arm " + spec_.name + " has ended");
  }
  return result;
}

}  // namespace portpool::bench
