#include "support/holder.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "base/descriptor.h"

namespace portpool::test {
namespace {

constexpr std::size_t kPerChild = 15000;  // below the usual hard limit of descriptors

struct Report {
  std::size_t held;
  int error;
};

void raise_descriptor_limit() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

Report hold(const SocketAddress& destination, std::size_t wanted) {
  Report report{0, 0};
  while (report.held < wanted && report.error == 0) {
    if (connected_socket(destination) >= 0) {
      ++report.held;
    } else {
      report.error = errno;
    }
  }
  return report;
}

}  // namespace

Holder::Holder(const SocketAddress& destination, std::size_t wanted) {
  while (held_ < wanted && add_child(destination, std::min(wanted - held_, kPerChild))) {
  }
}

// False when the child could not open all that it was to open.
bool Holder::add_child(const SocketAddress& destination, std::size_t wanted) {
  int channel[2];
  if (pipe2(channel, O_CLOEXEC) != 0)
    throw std::system_error(errno, std::generic_category(), "pipe");
  const Descriptor reader(channel[0]);
  Descriptor writer(channel[1]);
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child < 0) throw std::system_error(errno, std::generic_category(), "fork");
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    raise_descriptor_limit();
    const Report report = hold(destination, wanted);
    if (write(writer.get(), &report, sizeof report) != sizeof report) _exit(1);
    for (;;) pause();
  }
  children_.push_back(child);
  writer = Descriptor();
  Report report{};
  const bool answered = read(reader.get(), &report, sizeof report) == sizeof report;
  if (!answered) throw std::runtime_error("a holder died");
  held_ += report.held;
  error_ = report.error;
  return report.held == wanted;
}

Holder::~Holder() {
  for (const pid_t child : children_) kill(child, SIGKILL);
  for (const pid_t child : children_) waitpid(child, nullptr, 0);
}

}  // namespace portpool::test
