#include "cli/child.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <map>
#include <string_view>

#include "base/descriptor.h"
#include "daemon/process_setup.h"
#include "kernel/process_identity.h"

namespace portpool {
namespace {

std::vector<std::string> merged_environment(const std::vector<std::string>& changes) {
  const auto name_of = [](const std::string& entry) { return entry.substr(0, entry.find('=')); };
  std::map<std::string, std::string> entries;
  for (char** entry = environ; *entry != nullptr; ++entry) entries[name_of(*entry)] = *entry;
  for (const std::string& entry : changes) entries[name_of(entry)] = entry;
  std::vector<std::string> result;
  result.reserve(entries.size());
  for (const auto& [name, entry] : entries) result.push_back(entry);
  return result;
}

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> result;
  result.reserve(texts.size() + 1);
  for (const std::string& text : texts) result.push_back(const_cast<char*>(text.c_str()));
  result.push_back(nullptr);
  return result;
}

// From the kernel these go to everybody in the terminal's foreground group. An alarm that was set
// before poold was started comes from the kernel, too, and to poold alone.
bool comes_from_terminal(int number) {
  constexpr int kSignals[] = {SIGINT,  SIGQUIT, SIGHUP,  SIGWINCH,
                              SIGTSTP, SIGTTIN, SIGTTOU, SIGCONT};
  return std::find(std::begin(kSignals), std::end(kSignals), number) != std::end(kSignals);
}

}  // namespace

Child::Child() {
  pthread_sigmask(SIG_SETMASK, nullptr, &mask_);
  struct sigaction usual {};
  usual.sa_handler = SIG_DFL;
  sigaction(SIGCHLD, &usual, &child_ended_);
}

void Child::start(const std::vector<std::string>& command,
                  const std::vector<std::string>& environment) {
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  const std::vector<std::string> variables = merged_environment(environment);
  const std::vector<char*> arguments = pointers(command);
  const std::vector<char*> settings = pointers(variables);
  int report[2];
  if (pipe2(report, O_CLOEXEC) != 0)
    throw CannotStart{fmt::format("pipe: {}", std::strerror(errno)), 126};
  const Descriptor reader(report[0]);
  Descriptor writer(report[1]);
  pid_ = fork();
  if (pid_ < 0) throw CannotStart{fmt::format("fork: {}", std::strerror(errno)), 126};
  if (pid_ == 0) {
    // Only async-signal-safe calls: other threads were not copied.
    pthread_sigmask(SIG_SETMASK, &mask_, nullptr);
    sigaction(SIGCHLD, &child_ended_, nullptr);
    restore_for_command();
    execvpe(arguments[0], arguments.data(), settings.data());
    const int reason = errno;
    (void)!write(writer.get(), &reason, sizeof reason);
    _exit(127);
  }
  writer = Descriptor();
  int reason = 0;
  if (read(reader.get(), &reason, sizeof reason) == sizeof reason) {
    waitpid(pid_, nullptr, 0);
    throw CannotStart{fmt::format("cannot run {}: {}", command[0], std::strerror(reason)),
                      reason == ENOENT ? 127 : 126};
  }
  running_ = true;
}

std::vector<int> Child::signals_to_forward() {
  constexpr int kNot[] = {SIGKILL, SIGSTOP, SIGCHLD, SIGSEGV, SIGBUS,
                          SIGILL,  SIGFPE,  SIGTRAP, SIGSYS,  SIGPIPE};
  std::vector<int> signals;
  for (int number = 1; number <= SIGRTMAX; ++number) {
    // Those between are the C library's own.
    if (number > SIGSYS && number < SIGRTMIN) continue;
    if (std::find(std::begin(kNot), std::end(kNot), number) == std::end(kNot)) {
      signals.push_back(number);
    }
  }
  return signals;
}

template <class Send>
void Child::to_each(Send send) const {
  if (!command_ended_) return send(pid_);
  for (const pid_t pid : kernel::children_of(getpid())) send(pid);
}

void Child::forward(const signalfd_siginfo& signal) const {
  const int number = static_cast<int>(signal.ssi_signo);
  if (signal.ssi_code == SI_KERNEL && comes_from_terminal(number)) return;
  if (signal.ssi_code != SI_QUEUE) return this->signal(number);
  sigval value{};
  value.sival_ptr = reinterpret_cast<void*>(signal.ssi_ptr);  // NOLINT(performance-no-int-to-ptr)
  to_each([&](pid_t pid) { sigqueue(pid, number, value); });
}

void Child::signal(int number) const {
  to_each([&](pid_t pid) { kill(pid, number); });
}

void Child::reap() {
  command_suspended_ = false;
  for (;;) {
    int status = 0;
    const pid_t pid = waitpid(-1, &status, WNOHANG | WUNTRACED);
    if (pid == 0) return;
    if (pid < 0) break;
    if (pid != pid_) continue;
    if (WIFSTOPPED(status)) {
      const int by = WSTOPSIG(status);
      command_suspended_ = by == SIGTSTP || by == SIGTTIN || by == SIGTTOU;
      continue;
    }
    wait_status_ = status;
    command_ended_ = true;
  }
  running_ = false;
}

int Child::exit_status() const {
  return WIFSIGNALED(wait_status_) ? 128 + WTERMSIG(wait_status_) : WEXITSTATUS(wait_status_);
}

}  // namespace portpool
