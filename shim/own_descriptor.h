// Descriptors of ours, open for a moment in somebody else's table. exec() closes them
// (SOCK_CLOEXEC and the like); so does a child that another thread forks meanwhile, which would
// keep its copies for good.
#pragma once

#include <cstdint>

namespace portpool::shim {

// At load time: has fork() call us. A child made by a raw clone(2) is not seen.
void start_fork_handlers();

// Holds fork() off (in other threads; for some microseconds) while a system call makes descriptors
// that are not known by number yet. Neither waits for the other for long: fork() may come from a
// signal handler within the call, and then its child keeps the copies.
class Opening {
 public:
  Opening();
  ~Opening();
  Opening(const Opening&) = delete;
  Opening& operator=(const Opening&) = delete;
};

// Opened and closed by system calls, past every interposed function.
class OwnDescriptor {
 public:
  OwnDescriptor() = default;
  ~OwnDescriptor();
  // To be called while the Opening lives in which `fd` was made; -1: none was.
  void take(long fd);
  OwnDescriptor(const OwnDescriptor&) = delete;
  OwnDescriptor& operator=(const OwnDescriptor&) = delete;
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
  int slot_ = -1;
};

}  // namespace portpool::shim
