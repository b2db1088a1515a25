// Does the shim work in a process that runs?
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "check/judgement.h"
#include "portpool/segment.h"

namespace portpool::check {

// The daemon that the process is expected to use, if one answers.
struct DaemonFacts {
  std::string socket;
  NetworkNamespace network_namespace;
};

// Reads /proc/PID. Throws UserError when there is no such process.
Judgement judge_process(pid_t pid, const std::optional<DaemonFacts>& daemon);

}  // namespace portpool::check
