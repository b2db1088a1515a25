// The functions behind ours: the next ones in the process's search order (RTLD_NEXT), which may
// belong to another preloaded library.
#pragma once

#include <fcntl.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>

namespace portpool::shim {

struct Real {
  decltype(&::bind) bind;
  decltype(&::close) close;
  decltype(&::close_range) close_range;
  decltype(&::closefrom) closefrom;
  decltype(&::connect) connect;
  decltype(&::dup) dup;
  decltype(&::dup2) dup2;
  decltype(&::dup3) dup3;
  int (*fclose)(FILE*);
  decltype(&::fcntl) fcntl;
  decltype(&::fcntl64) fcntl64;
  decltype(&::getsockname) getsockname;
  decltype(&::getsockopt) getsockopt;
  decltype(&::ioctl) ioctl;
  decltype(&::listen) listen;
  decltype(&::mlockall) mlockall;
  decltype(&::prctl) prctl;
  decltype(&::setns) setns;
  decltype(&::setsockopt) setsockopt;
  decltype(&::socket) socket;
  decltype(&::syscall) syscall;
  decltype(&::unshare) unshare;
};

// The table; filled at the first call. Never null except for close_range, closefrom and fcntl64 on
// a libc that lacks them, and those get a substitute.
const Real& real();

}  // namespace portpool::shim
