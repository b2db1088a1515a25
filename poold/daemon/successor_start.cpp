#include "daemon/successor_start.h"

#include <fcntl.h>
#include <spawn.h>
#include <spdlog/spdlog.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>

#include "kernel/pidfd.h"

namespace portpool {
namespace {

constexpr const char* kTakeOver = "--take-over";

std::vector<std::string> own_arguments() {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  std::vector<std::string> arguments;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\0', at), text.size());
    arguments.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return arguments;
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> result;
  result.reserve(strings.size() + 1);
  for (std::string& s : strings) result.push_back(s.data());
  result.push_back(nullptr);
  return result;
}

// With every signal as at the start of a program: the loop has blocked its own.
class CleanSignals {
 public:
  CleanSignals() {
    posix_spawnattr_init(&attributes_);
    sigset_t set;
    sigemptyset(&set);
    posix_spawnattr_setsigmask(&attributes_, &set);
    sigfillset(&set);
    posix_spawnattr_setsigdefault(&attributes_, &set);
    posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  }
  ~CleanSignals() { posix_spawnattr_destroy(&attributes_); }
  CleanSignals(const CleanSignals&) = delete;
  CleanSignals& operator=(const CleanSignals&) = delete;
  const posix_spawnattr_t* get() const { return &attributes_; }

 private:
  posix_spawnattr_t attributes_;
};

}  // namespace

SuccessorStart::SuccessorStart(EventLoop& loop) : loop_(loop), arguments_(own_arguments()) {
  std::error_code error;
  program_ = std::filesystem::read_symlink("/proc/self/exe", error).string();
  if (std::find(arguments_.begin(), arguments_.end(), kTakeOver) == arguments_.end()) {
    arguments_.emplace_back(kTakeOver);
  }
}

SuccessorStart::~SuccessorStart() {
  if (process_) loop_.unwatch(process_.get());
}

void SuccessorStart::start(const std::vector<std::string>& environment) {
  if (pid_ > 0) return spdlog::warn("a successor (pid {}) is on its way already", pid_);
  std::vector<std::string> variables(environment);
  for (char** entry = environ; *entry != nullptr; ++entry) variables.emplace_back(*entry);
  const std::vector<char*> argv = pointers(arguments_);
  const std::vector<char*> envp = pointers(variables);
  const int error =
      posix_spawn(&pid_, program_.c_str(), nullptr, CleanSignals().get(), argv.data(), envp.data());
  if (error != 0) {
    pid_ = -1;
    return spdlog::error("cannot start a successor from {}: {}; this poold goes on", program_,
                         std::strerror(error));
  }
  spdlog::info("started {} (pid {}) to take over", program_, pid_);
  process_ = kernel::open_process(pid_);
  // Before Linux 5.3 its end is not noticed, and another one can be started.
  if (!process_) {
    pid_ = -1;
    return;
  }
  loop_.watch(process_.get(), [this] { note_end(); });
}

void SuccessorStart::note_end() {
  int status = 0;
  if (waitpid(pid_, &status, WNOHANG) == 0) return;
  spdlog::error("the successor (pid {}) has ended ({} {}) and not taken over; this poold goes on",
                pid_, WIFSIGNALED(status) ? "signal" : "status",
                WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
  loop_.unwatch(process_.get());
  process_ = Descriptor();
  pid_ = -1;
}

}  // namespace portpool
