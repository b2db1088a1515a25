// A child process with captured output, which never outlives its object.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <vector>

#include "base/descriptor.h"
#include "support/eventually.h"

namespace portpool::test {

// Starts a program at once. It runs in a process group of its own; the destructor kills that whole
// group, and the kernel kills the program when the test dies.
class Process {
 public:
  // argv[0] is looked up in PATH. `environment` holds NAME=value, added to the test's own; NAME
  // alone removes it. Throws when there is no process to be had; a program that cannot be executed
  // ends with 127.
  explicit Process(const std::vector<std::string>& argv,
                   const std::vector<std::string>& environment = {});
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  pid_t pid() const { return pid_; }
  void signal(int number) const;
  bool running();

  // Waits for the end. Returns the exit status, or 128 + n after signal n. Throws
  // std::runtime_error (with the output so far) when the deadline passes.
  int wait(std::chrono::milliseconds deadline = kDeadline);

  // What it has written so far.
  std::string out() const;
  std::string err() const;

  // To its standard input.
  void send_line(const std::string& line);
  // Waits until its standard output contains `text`. Throws when it ends without, or at the
  // deadline.
  void wait_for_output(const std::string& text, std::chrono::milliseconds deadline = kDeadline);

 private:
  bool reap(bool block);
  std::string describe() const;

  std::vector<std::string> argv_;
  pid_t pid_ = -1;
  int status_ = 0;
  bool ended_ = false;
  Descriptor input_;   // a socket: writing to a dead child must not raise SIGPIPE
  Descriptor output_;  // memory files: no pipe to fill up
  Descriptor errors_;
};

}  // namespace portpool::test
