// What is to be known of a process before it can be judged.
#pragma once

#include <sys/types.h>

#include <optional>

#include "kernel/preload.h"
#include "kernel/process_identity.h"

namespace portpool::check {

struct ProcessFacts {
  kernel::ProcessIdentity who;
  kernel::PreloadState preload;
  ino_t network_namespace = 0;   // 0: not known
  bool library_is_there = true;  // the file that LD_PRELOAD names, in the process's own file system
};

// nullopt with errno set: it is gone, a kernel thread, or may not be looked into.
std::optional<ProcessFacts> read_process(pid_t pid);

}  // namespace portpool::check
