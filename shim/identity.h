// Who this process is, asked once: pid, name, and its entry in the segment's table.
#pragma once

#include <atomic>
#include <cstdint>

namespace portpool::shim {

// On a page that the kernel empties in a forked child (MADV_WIPEONFORK, Linux 4.14): a child finds
// pid 0 and asks anew, without any handler of fork(). Threads that ask at once store the same. A
// child of vfork() is taken for its parent.
struct Identity {
  std::atomic<std::uint32_t> pid;
  std::atomic<std::uint64_t> comm[2];
  // own_entry.h
  std::atomic<std::uint64_t> owner;
  std::atomic<std::uint32_t> place;  // 0 none yet, 1 being taken, 2 + index
  std::atomic<std::uint32_t> tried;  // the heartbeat's lower half at the latest attempt
};

struct Name {
  std::uint32_t pid;
  std::uint64_t comm[2];
};

// With the first socket: learns pid, name and pid namespace, so that later calls need not ask (a
// sandboxed program may not be allowed to).
void start_identity();

// As they were then, also in forked children.
struct Origin {
  std::uint64_t comm[2];
  std::uint64_t pid_namespace;  // 0: not known
};
const Origin& origin();

// Null: not started, or the kernel has no such pages.
Identity* own_identity();

Name own_name();

// The process that this memory belongs to, by its own pid namespace; 0: not known, or a child of
// fork() that has not asked.
std::uint32_t known_pid();

}  // namespace portpool::shim
