// Is this process served by portpool, and if not, why? The one judgement of that: for check, doctor
// and the list of programs.
#pragma once

#include "check/daemon_facts.h"
#include "check/judgement.h"
#include "check/process_facts.h"

namespace portpool::check {

// Adds what is so to `judgement`. No text but a finding's `text` has words of another user's.
void judge_served(const ProcessFacts& process, const DaemonFacts& daemon, Judgement& judgement);

}  // namespace portpool::check
