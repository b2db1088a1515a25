// Does the shim work in a process that runs?
#pragma once

#include <sys/types.h>

#include "check/daemon_facts.h"
#include "check/judgement.h"

namespace portpool::check {

// Reads /proc/PID. Throws UserError when there is no such process.
Judgement judge_process(pid_t pid, Daemons& daemons);

}  // namespace portpool::check
