// What poold tells Prometheus. docs/metrics.md explains each metric.
#pragma once

#include <string>

#include "observe/report.h"

namespace portpool {

// So many lanes, the fullest, have series of their own; the rest of each pool is added up.
inline constexpr std::size_t kMetricLanes = 20;

// In the text format, version 0.0.4. `reload_successful`: the configuration in force is the one
// that was read last.
std::string metrics_text(const Report& report, bool reload_successful);

}  // namespace portpool
