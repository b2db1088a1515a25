#include "cli/child.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <map>
#include <string_view>

#include "base/descriptor.h"

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

std::vector<pid_t> own_children() {
  std::ifstream list(fmt::format("/proc/self/task/{}/children", getpid()));
  std::vector<pid_t> pids;
  for (pid_t pid; list >> pid;) pids.push_back(pid);
  return pids;
}

}  // namespace

Child::Child() { pthread_sigmask(SIG_SETMASK, nullptr, &mask_); }

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

void Child::forward(const signalfd_siginfo& signal) const {
  if (signal.ssi_code != SI_KERNEL) this->signal(static_cast<int>(signal.ssi_signo));
}

void Child::signal(int number) const {
  if (!command_ended_) {
    kill(pid_, number);
    return;
  }
  for (const pid_t pid : own_children()) kill(pid, number);
}

void Child::reap() {
  for (;;) {
    int status = 0;
    const pid_t pid = waitpid(-1, &status, WNOHANG);
    if (pid == 0) return;
    if (pid < 0) break;
    if (pid == pid_) {
      wait_status_ = status;
      command_ended_ = true;
    }
  }
  running_ = false;
}

int Child::exit_status() const {
  return WIFSIGNALED(wait_status_) ? 128 + WTERMSIG(wait_status_) : WEXITSTATUS(wait_status_);
}

}  // namespace portpool
