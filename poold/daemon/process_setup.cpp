#include "daemon/process_setup.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <system_error>

namespace portpool {
namespace {

// As they were before prepare_to_serve().
struct Inherited {
  bool known = false;
  struct sigaction pipe {};
  rlimit descriptors{};
};
Inherited inherited;

constexpr int kNice = -10;

void go_before_others() {
  if (getpriority(PRIO_PROCESS, 0) != 0) return;
  // Of what is started from here, nice is 0 again (sched(7)).
  const sched_param parameters{};
  if (sched_setscheduler(0, SCHED_OTHER | SCHED_RESET_ON_FORK, &parameters) != 0) return;
  setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kNice);
}

}  // namespace

void have_standard_descriptors() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(fd, F_GETFD) >= 0) continue;
    // Of those before it none is missing any more, so this is the number that open() gives.
    const int access = fd == STDIN_FILENO ? O_WRONLY : O_RDONLY;
    if (open("/dev/null", access | O_NOCTTY) == fd) continue;
    // A folder without /dev, as chroot(2) may leave it.
    if (open("/", O_PATH | O_DIRECTORY) == fd) continue;
    throw std::system_error(errno, std::generic_category(), "descriptors 0 to 2");
  }
}

void hold_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGHUP, SIGUSR2}) sigaddset(&set, signal);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

void prepare_to_serve() {
  struct sigaction ignore {};
  ignore.sa_handler = SIG_IGN;
  sigaction(SIGPIPE, &ignore, &inherited.pipe);
  getrlimit(RLIMIT_NOFILE, &inherited.descriptors);
  inherited.known = true;
  rlimit raised = inherited.descriptors;
  raised.rlim_cur = raised.rlim_max;
  // Where that is forbidden it stays as it is.
  setrlimit(RLIMIT_NOFILE, &raised);
  go_before_others();
}

void restore_for_command() noexcept {
  if (!inherited.known) return;
  sigaction(SIGPIPE, &inherited.pipe, nullptr);
  setrlimit(RLIMIT_NOFILE, &inherited.descriptors);
}

}  // namespace portpool
