// Which processes hold the outgoing connections, and how the busy ones are set up.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "check/daemon_facts.h"
#include "check/process_facts.h"
#include "doctor/census.h"
#include "kernel/processes.h"

namespace portpool::doctor {

// Processes with fewer outgoing connections are left alone.
inline constexpr std::uint32_t kManyConnections = 100;

struct BusyProcess {
  pid_t pid = 0;
  std::string name;
  std::uint32_t outgoing = 0;
  std::uint32_t open = 0;                      // descriptors
  std::optional<std::uint64_t> open_limit;     // nullopt: not known, or unlimited
  std::optional<check::ProcessFacts> process;  // nullopt: may not be looked into
  check::DaemonFacts daemon;                   // that it is meant to use

  bool has_library() const { return process && process->preload.loaded; }
};

struct Share {
  std::string process;  // "nginx (pid 12)"
  pid_t pid = 0;
  std::uint32_t sockets = 0;
  StateCounts states{};
};

struct Ownership {
  kernel::ProcessScan scan;
  std::vector<BusyProcess> busy;   // most connections first
  std::uint32_t unattributed = 0;  // outgoing connections held by a process that we cannot see

  // Who has the sockets in `inodes` (0: nobody), most first. The last one's pid is 0 when some
  // belong to processes that cannot be seen.
  const BusyProcess* find(pid_t pid) const;
};

Ownership find_owners(const Census& census, check::Daemons& daemons);

// The holders of a lane's sockets, most first; those nobody holds (orphans, TIME_WAIT) left out. A
// share with pid 0 stands for processes that we cannot see.
std::vector<Share> shares_of_lane(const Census& census, const Ownership& owners,
                                  std::uint32_t lane);
std::vector<Share> shares_of(const std::vector<LocalSocket>& sockets, const Ownership& owners);
std::vector<Share> shares_of(const std::vector<OutgoingSocket>& sockets, const Ownership& owners);

// "nginx (pid 12) 27,000, curl (pid 13) 5": the first `most` of them.
std::string shares_text(const std::vector<Share>& shares, std::size_t most = 3);

}  // namespace portpool::doctor
