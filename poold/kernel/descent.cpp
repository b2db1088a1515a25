#include "kernel/descent.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>

#include "base/parse_number.h"
#include "kernel/pidfd.h"
#include "kernel/proc_file.h"
#include "kernel/process_text.h"

namespace portpool::kernel {
namespace {

constexpr int kPeerPidfd = 77;  // SO_PEERPIDFD, Linux 6.5
constexpr int kMostGenerations = 256;
constexpr int kAttempts = 3;

bool lives(const Descriptor& process) {
  pollfd state{process.get(), POLLIN, 0};
  return process && poll(&state, 1, 0) == 0;
}

// 0: not known, or out of sight.
pid_t parent_of(pid_t pid) {
  const auto text = read_proc_file(fmt::format("/proc/{}/stat", pid), 4096);
  return text ? whole_number<pid_t>(stat_field(*text, kParentField)).value_or(0) : 0;
}

enum class Descent { yes, no, changed };

// Each parent is held by a descriptor before it is confirmed to be the parent still: a process is
// given another parent before its own one's pid is free again.
Descent look(const Descriptor& process, pid_t pid) {
  const pid_t here = getpid();
  Descriptor earlier;
  const Descriptor* child = &process;
  for (int i = 0; i < kMostGenerations; ++i) {
    const pid_t parent = parent_of(pid);
    if (parent <= 0) return lives(*child) ? Descent::no : Descent::changed;
    Descriptor handle = open_process(parent);
    if (!handle || parent_of(pid) != parent || !lives(*child)) return Descent::changed;
    if (parent == here) return Descent::yes;
    earlier = std::move(handle);
    child = &earlier;
    pid = parent;
  }
  return Descent::no;
}

}  // namespace

Descriptor peer_process(int connection, pid_t pid) {
  int handle = -1;
  socklen_t length = sizeof handle;
  if (getsockopt(connection, SOL_SOCKET, kPeerPidfd, &handle, &length) == 0) {
    return Descriptor(handle);
  }
  return pid > 0 && errno == ENOPROTOOPT ? open_process(pid) : Descriptor();
}

bool descends_from_here(const Descriptor& process, pid_t pid) {
  // Parents end, and leave their children to others, while they are looked at.
  for (int i = 0; i < kAttempts && pid > 0 && lives(process); ++i) {
    const Descent descent = look(process, pid);
    if (descent != Descent::changed) return descent == Descent::yes;
  }
  return false;
}

}  // namespace portpool::kernel
