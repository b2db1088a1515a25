#include "support/process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <stdexcept>
#include <system_error>

namespace portpool::test {
namespace {

std::vector<std::string> merged_environment(const std::vector<std::string>& changes) {
  std::vector<std::string> result;
  for (char** entry = environ; *entry != nullptr; ++entry) result.emplace_back(*entry);
  for (const std::string& change : changes) {
    const std::string name = change.substr(0, change.find('='));
    std::erase_if(result, [&](const std::string& e) { return e.starts_with(name + "="); });
    if (change.find('=') != std::string::npos) result.push_back(change);
  }
  return result;
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> result;
  for (std::string& s : strings) result.push_back(s.data());
  result.push_back(nullptr);
  return result;
}

std::string content_of(int fd) {
  struct stat info {};
  fstat(fd, &info);
  std::string content(static_cast<std::size_t>(info.st_size), '\0');
  const ssize_t got = pread(fd, content.data(), content.size(), 0);
  content.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
  return content;
}

}  // namespace

Process::Process(const std::vector<std::string>& argv, const std::vector<std::string>& environment)
    : argv_(argv) {
  std::vector<std::string> child_argv = argv;
  std::vector<std::string> child_environment = merged_environment(environment);
  const std::vector<char*> argv_pointers = pointers(child_argv);
  const std::vector<char*> environment_pointers = pointers(child_environment);

  int input[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, input) != 0) {
    throw std::system_error(errno, std::generic_category(), "socketpair");
  }
  input_ = Descriptor(input[0]);
  const Descriptor childs_input(input[1]);
  output_ = Descriptor(memfd_create("stdout", MFD_CLOEXEC));
  errors_ = Descriptor(memfd_create("stderr", MFD_CLOEXEC));
  // Appending, so that several writers (a shell and its children) do not overwrite each other.
  fcntl(output_.get(), F_SETFL, O_APPEND);
  fcntl(errors_.get(), F_SETFL, O_APPEND);

  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ < 0) throw std::system_error(errno, std::generic_category(), "fork");
  if (pid_ == 0) {
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(127);
    dup2(childs_input.get(), STDIN_FILENO);
    dup2(output_.get(), STDOUT_FILENO);
    dup2(errors_.get(), STDERR_FILENO);
    execvpe(argv_pointers[0], argv_pointers.data(), environment_pointers.data());
    std::perror(argv_pointers[0]);
    _exit(127);
  }
  setpgid(pid_, pid_);  // in both, so that it holds whoever runs first
}

Process::~Process() {
  // Before the leader is reaped, so that the group's number cannot belong to anybody else.
  if (!ended_) {
    kill(-pid_, SIGKILL);
    reap(true);
  }
}

void Process::signal(int number) const {
  if (!ended_) kill(pid_, number);
}

bool Process::running() { return !reap(false); }

// True when the child has ended. Takes what is left of its group down with it.
bool Process::reap(bool block) {
  if (ended_) return true;
  siginfo_t info{};
  int result = 0;
  do {
    result =
        waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT | (block ? 0 : WNOHANG));
  } while (result != 0 && errno == EINTR);
  if (result != 0 || info.si_pid == 0) return false;
  kill(-pid_, SIGKILL);
  int status = 0;
  waitpid(pid_, &status, 0);
  status_ = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  ended_ = true;
  return true;
}

int Process::wait(std::chrono::milliseconds deadline) {
  if (!eventually([&] { return reap(false); }, deadline)) {
    throw std::runtime_error("did not end: " + describe());
  }
  return status_;
}

std::string Process::out() const { return content_of(output_.get()); }
std::string Process::err() const { return content_of(errors_.get()); }

void Process::send_line(const std::string& line) {
  const std::string text = line + "\n";
  send(input_.get(), text.data(), text.size(), MSG_NOSIGNAL);
}

void Process::wait_for_output(const std::string& text, std::chrono::milliseconds deadline) {
  bool found = false;
  eventually(
      [&] {
        const bool last_look = !running();
        found = out().find(text) != std::string::npos;
        return found || last_look;
      },
      deadline);
  if (!found) throw std::runtime_error("never printed '" + text + "': " + describe());
}

std::string Process::describe() const {
  std::string text;
  for (const std::string& argument : argv_) text += argument + " ";
  return text + "\nstdout: " + out() + "\nstderr: " + err();
}

}  // namespace portpool::test
