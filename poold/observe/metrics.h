// What poold tells Prometheus. docs/metrics.md explains each metric.
#pragma once

#include <cstdint>
#include <string>

#include "observe/report.h"

namespace portpool {

// So many lanes, the fullest, have series of their own; the rest of each pool is added up.
inline constexpr std::size_t kMetricLanes = 20;

// What stands in the daemon itself and not in the segment.
struct DaemonFigures {
  std::uint64_t started_ns = 0;  // CLOCK_REALTIME
  std::uint64_t reloads_taken = 0;
  std::uint64_t reloads_refused = 0;
  bool last_reload_taken = true;  // the configuration in force is the one that was read last
  std::uint32_t config_hash = 0;
};

// In the text format, version 0.0.4.
std::string metrics_text(const Report& report, const DaemonFigures& daemon);

}  // namespace portpool
