// What a process needs before it can be a daemon, or hold one, and what a command that it starts
// must not see of that.
#pragma once

namespace portpool {

// Opens something for each of the descriptors 0 to 2 that is missing, or the next file that is
// opened becomes standard output and is written to. Reading from it, or writing to it, fails with
// EBADF as it would without. For every command, first thing in main(). Throws std::system_error.
void have_standard_descriptors();

// Blocks SIGHUP and SIGUSR2, so that one that comes before the daemon can serve it waits instead of
// ending the process.
void hold_signals();

// Ignores SIGPIPE and raises the soft limit of descriptors to the hard one: 1,024 is usual, and
// each attached program takes one. The calling thread, whose event loop all programs that start
// wait for, goes before others on a busy machine (nice(2)), where that is allowed and nobody has
// chosen otherwise; threads and commands that it starts do not. Once in a process.
void prepare_to_serve();

// Undoes prepare_to_serve(), for a command that runs in this process's place. Async-signal-safe:
// for use between fork() and exec.
void restore_for_command() noexcept;

}  // namespace portpool
