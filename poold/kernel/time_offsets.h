// Time namespaces: what a process adds to the machine's clocks (time_namespaces(7)).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string_view>

namespace portpool::kernel {

// In nanoseconds; both are 0 where nobody has changed them.
struct TimeOffsets {
  std::int64_t monotonic = 0;
  std::int64_t boottime = 0;
};

// As /proc/PID/timens_offsets says it; nullopt: it says something else.
std::optional<TimeOffsets> parse_time_offsets(std::string_view text);

// Of a process as this one's pid namespace numbers them. nullopt: it is not to be seen here, or the
// kernel has no time namespaces (before Linux 5.6, or without CONFIG_TIME_NS).
std::optional<TimeOffsets> time_offsets(pid_t pid);
std::optional<TimeOffsets> own_time_offsets();

}  // namespace portpool::kernel
