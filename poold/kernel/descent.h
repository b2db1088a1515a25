// Whether a process descends from this one.
#pragma once

#include <sys/types.h>

#include "base/descriptor.h"

namespace portpool::kernel {

// The process that connected to the other end of this UNIX socket, and keeps being that one however
// its pid is used later (pidfd_open(2)). By SO_PEERPIDFD (Linux 6.5); before, by `pid`, which may
// have passed to another process since. Empty: it has ended, or this kernel has no pidfds (5.3).
Descriptor peer_process(int connection, pid_t pid);

// Whether `process`, whose pid is `pid`, lives and descends from this process. To be asked by a
// child subreaper (prctl(2)): nobody leaves its tree then, for orphans become its children. Reads
// /proc; false in every doubt. A chain of more than a few hundred generations is a doubt.
bool descends_from_here(const Descriptor& process, pid_t pid);

}  // namespace portpool::kernel
