// Who a process is, and what it may do: /proc/PID/status, stat and cgroup, which everybody may
// read.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace portpool::kernel {

struct ProcessIdentity {
  pid_t pid = 0;
  pid_t inner_pid = 0;      // in its own pid namespace
  ino_t pid_namespace = 0;  // 0: may not be seen
  std::string name;         // /proc/PID/comm
  uid_t user = 0;           // by which it opens files, as are the groups
  gid_t group = 0;
  std::vector<gid_t> groups;
  bool opens_all = false;  // CAP_DAC_OVERRIDE, in our user namespace
  bool filtered = false;   // a seccomp filter is in force
  // When it was started, in nanoseconds of this process's CLOCK_BOOTTIME, to a clock tick (10 ms).
  std::uint64_t started_ns = 0;
  std::string unit;  // or container, as unit_of() has it

  bool is_in(gid_t wanted) const;
};

// nullopt: it is gone.
std::optional<ProcessIdentity> identify(pid_t pid);

// /proc/PID/comm; nullopt with errno set: it is gone, or cannot be read.
std::optional<std::string> name_of_process(pid_t pid);

// The same for the unit of systemd, or the container, by /proc/PID/cgroup. Empty: neither.
std::optional<std::string> unit_of_process(pid_t pid);

// Those that its first thread started (/proc/PID/task/PID/children); none where that cannot be
// read.
std::vector<pid_t> children_of(pid_t pid);

// All processes that this pid namespace shows, by number.
std::vector<pid_t> all_processes();

// The unit of systemd, or the container, that /proc/PID/cgroup tells of: "nginx.service",
// "docker-0123456789ab". Empty: neither.
std::string unit_of(std::string_view cgroups);

// A namespace of the process ("net", "mnt") by inode; 0: it may not be seen.
ino_t namespace_of(pid_t pid, const char* kind);

}  // namespace portpool::kernel
