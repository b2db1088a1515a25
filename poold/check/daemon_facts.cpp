#include "check/daemon_facts.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernel/process_identity.h"
#include "observe/report.h"
#include "observe/segment_reader.h"

namespace portpool::check {
namespace {

ino_t own_network_namespace() { return kernel::namespace_of(::getpid(), "net"); }

bool has_our_files(pid_t pid) {
  struct stat ours {};
  struct stat theirs {};
  const std::string root = fmt::format("/proc/{}/root/.", pid);
  const ino_t mounts = kernel::namespace_of(pid, "mnt");
  if (mounts == 0 || stat("/.", &ours) != 0 || stat(root.c_str(), &theirs) != 0) return true;
  return mounts == kernel::namespace_of(::getpid(), "mnt") &&
         identity_of(ours) == identity_of(theirs);
}

// A path of the process's as it leads there from here.
std::string reach(pid_t pid, const std::string& path) {
  if (!path.starts_with('/')) return fmt::format("/proc/{}/cwd/{}", pid, path);
  return has_our_files(pid) ? path : fmt::format("/proc/{}/root{}", pid, path);
}

// path_resolution(7): the process's rights by the modes alone. Access lists and security modules
// are not asked.
bool has_right(const kernel::ProcessIdentity& who, const std::string& path, mode_t right) {
  struct stat info {};
  if (who.opens_all || stat(path.c_str(), &info) != 0) return true;
  if (info.st_uid == who.user) return (info.st_mode & right << 6) != 0;
  if (who.is_in(info.st_gid)) return (info.st_mode & right << 3) != 0;
  return (info.st_mode & right) != 0;
}

bool may_connect(const kernel::ProcessIdentity& who, const std::string& path) {
  constexpr mode_t kSearch = 1;
  constexpr mode_t kWrite = 2;
  for (std::size_t slash = path.find('/', 1); slash != std::string::npos;
       slash = path.find('/', slash + 1)) {
    const std::string folder = path.substr(0, slash);
    if (!folder.starts_with("/proc") && !has_right(who, folder + "/.", kSearch)) return false;
  }
  return has_right(who, path, kWrite);
}

DaemonState state_of(NoSegment why) {
  switch (why) {
    case NoSegment::absent:
      return DaemonState::absent;
    case NoSegment::silent:
      return DaemonState::silent;
    default:
      return DaemonState::unknown;
  }
}

DaemonFacts look_at(const std::string& path) {
  DaemonFacts daemon;
  daemon.file_is_there = access(path.c_str(), F_OK) == 0;
  try {
    const SegmentReader reader(path);
    const SegmentView& view = reader.view();
    const DaemonTimes times = watched_daemon_times(view.header());
    const bool stopped = view.header().stopped.load(std::memory_order_relaxed) != 0;
    const bool alive = !stopped && times.heartbeat_age_ms <= kHeartbeatStaleMs;
    daemon.state = alive ? DaemonState::alive : DaemonState::silent;
    daemon.network_namespace = view.network_namespace().inode;
    daemon.elsewhere = daemon.network_namespace != own_network_namespace();
    daemon.structure = reader.structure_inode();
    daemon.mode = Control::unpack(view.header().control.load(std::memory_order_relaxed)).mode;
  } catch (const SegmentError& error) {
    daemon.state = state_of(error.why);
    daemon.trouble = error.what();
    daemon.elsewhere = error.why == NoSegment::elsewhere;
  }
  return daemon;
}

}  // namespace

DaemonFacts Daemons::at(const std::string& path) {
  const auto known = known_.find(path);
  return known != known_.end() ? known->second : known_.emplace(path, look_at(path)).first->second;
}

DaemonFacts Daemons::asked() {
  DaemonFacts daemon = at(asked_);
  daemon.socket = asked_;
  return daemon;
}

DaemonFacts Daemons::of(const ProcessFacts& process) {
  // Its environment may have been written over; what it has mapped is certain.
  DaemonFacts daemon = asked();
  if (process.preload.structure != 0 && process.preload.structure == daemon.structure) {
    return daemon;
  }
  const std::string& named = process.preload.socket.empty() ? asked_ : process.preload.socket;
  const std::string path = reach(process.who.pid, named);
  daemon = at(path);
  daemon.socket = named;
  daemon.may_connect = may_connect(process.who, path);
  return daemon;
}

}  // namespace portpool::check
