// Who holds which socket, and what a process may and does have open: /proc/PID.
//
// A process may end at any moment, which is no error: it is left out. One that may not be looked
// into (another user's, without root) is counted.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace portpool::kernel {

struct ProcessRecord {
  pid_t pid = 0;
  std::string name;        // /proc/PID/comm
  std::uint32_t open = 0;  // descriptors
};

struct SocketHolder {
  std::uint32_t inode = 0;
  std::uint32_t process = 0;  // index into ProcessScan::processes
};

struct ProcessScan {
  std::vector<ProcessRecord> processes;  // those that hold a socket
  // By inode, each once: of several holders (after fork()) the one with the lowest pid.
  std::vector<SocketHolder> holders;
  std::uint32_t unreadable = 0;  // user processes whose descriptors may not or could not be read
  bool proc_mounted = true;      // false: /proc cannot be listed, nothing is known

  const ProcessRecord* holder_of(std::uint32_t inode) const;
};

// Reads the descriptors of all processes: one readlink() for each, about a microsecond.
ProcessScan scan_processes();

// The soft limit of open files; nullopt: the process is gone, or it is unlimited.
std::optional<std::uint64_t> open_files_limit(pid_t pid);

}  // namespace portpool::kernel
