// The command that `poold run` starts, and its descendants.
#pragma once

#include <sys/signalfd.h>
#include <sys/types.h>

#include <csignal>
#include <string>
#include <vector>

namespace portpool {

class Child {
 public:
  // Starts the command with these additional or changed environment variables ("NAME=value"), with
  // the signal mask and the disposition of SIGCHLD that were in force when the object was made:
  // where SIGCHLD is ignored, the kernel would keep no exit status for us (wait(2)). Later orphans
  // among its descendants become our children, so that a command that goes into the background is
  // still looked after.
  Child();
  // Throws CannotStart. Call once.
  void start(const std::vector<std::string>& command, const std::vector<std::string>& environment);

  // What can be passed on to a command: all but SIGKILL and SIGSTOP, SIGCHLD, those that tell of a
  // fault in this very process, and SIGPIPE, which it ignores.
  static std::vector<int> signals_to_forward();
  // Passes a signal on to the command, or, when that has ended, to what it left running; with its
  // value, when it came by sigqueue(3). One that the terminal sent has reached them already.
  void forward(const signalfd_siginfo& signal) const;

  // Sends the command, or what it left running, a signal of our own.
  void signal(int number) const;

  // Takes note of everything that ended or stopped. After it, running() is false when nothing is
  // left.
  void reap();
  bool running() const { return running_; }
  bool command_ended() const { return command_ended_; }
  // Whether the last reap() found the command newly stopped as jobs are: by SIGTSTP, SIGTTIN or
  // SIGTTOU. A SIGSTOP is somebody's doing who means this one process.
  bool command_suspended() const { return command_suspended_; }

  // As a shell would give it: the command's own status, or 128 + the signal that ended it.
  int exit_status() const;

 private:
  template <class Send>
  void to_each(Send send) const;

  sigset_t mask_;
  struct sigaction child_ended_ {};  // SIGCHLD's disposition
  pid_t pid_ = -1;
  int wait_status_ = 0;
  bool command_ended_ = false;
  bool command_suspended_ = false;
  bool running_ = false;
};

// The command could not be executed. status: 127 when it was not found, else 126.
struct CannotStart {
  std::string text;
  int status;
};

}  // namespace portpool
