// Every counter of the segment. One table: name, help. All count events since the daemon's start.
//
// How many connects took which path is not counted here: it is the number of latencies recorded for
// that path (latency.h).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace portpool {

#define PORTPOOL_COUNTERS(X)                                                         \
  X(result_ok, "connects that returned 0")                                           \
  X(result_in_progress, "connects that returned EINPROGRESS (non-blocking)")         \
  X(result_eaddrnotavail, "connects that returned EADDRNOTAVAIL")                    \
  X(result_econnrefused, "connects that returned ECONNREFUSED")                      \
  X(result_etimedout, "connects that returned ETIMEDOUT")                            \
  X(result_enetunreach, "connects that returned ENETUNREACH")                        \
  X(result_ehostunreach, "connects that returned EHOSTUNREACH")                      \
  X(result_eintr, "connects that returned EINTR")                                    \
  X(result_other, "connects that returned any other error")                          \
  X(passthrough_own_port, "connects on sockets whose port the program chose itself") \
  X(rejections, "claimed ports that the kernel refused (EADDRNOTAVAIL)")             \
  X(released_free, "ports given back that the kernel has let go of")                 \
  X(released_quarantine, "ports given back that reconcile has to look at first")     \
  X(failed_fast, "connects refused at once because nothing was free (fail-fast)")    \
  X(binds_deferred, "bind(address, 0) that took no port")                            \
  X(binds_made_real, "deferred binds whose port the program asked for")              \
  X(lane_requests, "requests for a lane that were placed")                           \
  X(attaches, "processes that mapped the segment")

enum class Counter : std::uint32_t {
#define PORTPOOL_X(name, help) k_##name,
  PORTPOOL_COUNTERS(PORTPOOL_X)
#undef PORTPOOL_X
      k_count
};

struct CounterText {
  std::string_view name;
  std::string_view help;
};

inline constexpr std::array kCounterTexts = {
#define PORTPOOL_X(name, help) CounterText{#name, help},
    PORTPOOL_COUNTERS(PORTPOOL_X)
#undef PORTPOOL_X
};

inline constexpr std::size_t kCounters = static_cast<std::size_t>(Counter::k_count);
static_assert(kCounterTexts.size() == kCounters);

}  // namespace portpool
