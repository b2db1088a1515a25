// Descriptors of ours, open for a moment in somebody else's table. exec() closes them
// (SOCK_CLOEXEC and the like); so does a child that another thread forks meanwhile, which would
// keep its copies for good.
#pragma once

#include <cstdint>

namespace portpool::shim {

// At load time: has fork() call us. A child made by a raw clone(2) is not seen.
void start_fork_handlers();

// Holds fork() off in other threads while a system call makes descriptors that are not known by
// number yet: for some microseconds, and at most a second where this thread loses its CPU. fork()
// from a signal handler within the call goes on at once, and its child keeps the copies. Where a
// fork() lasts for 50 ms the Opening is false, and nothing may be opened.
class Opening {
 public:
  Opening();
  ~Opening();
  Opening(const Opening&) = delete;
  Opening& operator=(const Opening&) = delete;
  explicit operator bool() const { return held_; }

 private:
  bool held_;
};

// Opened and closed by system calls, past every interposed function. The end leaves errno as it
// was.
class OwnDescriptor {
 public:
  OwnDescriptor() = default;
  ~OwnDescriptor();
  // A socket that exec() closes; none with errno set, or where a fork() does not come to its end.
  void open_socket(int family, int type, int protocol);
  // To be called while the Opening lives in which `fd` was made; -1: none was.
  void take(long fd);
  OwnDescriptor(const OwnDescriptor&) = delete;
  OwnDescriptor& operator=(const OwnDescriptor&) = delete;
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

}  // namespace portpool::shim
