// A process held by a descriptor, whatever becomes of its pid.
#pragma once

#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/descriptor.h"

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

namespace portpool::kernel {

// pidfd_open(2), Linux 5.3: readable when the process has ended, closed on exec. Empty with errno
// set: ESRCH it has ended, EMFILE and ENFILE no descriptor is left, ENOSYS.
inline Descriptor open_process(pid_t pid) {
  return Descriptor(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
}

}  // namespace portpool::kernel
