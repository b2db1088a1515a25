// How long ago a daemon's heart beat, and since when it runs, as this process's clocks see it. The
// structure holds moments of the daemon's clocks, and the daemon may be in another time namespace.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "portpool/segment.h"

namespace portpool {

struct DaemonTimes {
  std::uint64_t heartbeat_age_ms = 0;
  // From the number of beats where the clocks cannot be compared: then less by the time that the
  // daemon stood still, and since the structure was made, which a successor takes over.
  std::uint64_t uptime_s = 0;
};

// At once. The difference of time namespaces is taken from /proc/PID/timens_offsets where the
// daemon's is to be seen; where it is not, and the moment of the last beat makes no sense, what
// counts is `silence`: for how long this process has seen the heart stand still, if it has watched.
DaemonTimes daemon_times(const StructureHeader& header,
                         std::optional<std::chrono::nanoseconds> silence = std::nullopt);

// Where the moment of the last beat does not say that the daemon lives, the heart is watched, for
// at most kHeartbeatStaleMs: of a daemon that runs it beats within kHeartbeatMs.
DaemonTimes watched_daemon_times(const StructureHeader& header);

}  // namespace portpool
