// Every counter of the segment. One table: name, help. All count events since the segment was
// made; a poold that goes on with it goes on counting.
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
  X(pool_ok, "connects by the pool that returned 0")                                 \
  X(pool_in_progress, "connects by the pool that returned EINPROGRESS")              \
  X(pool_eaddrnotavail, "connects by the pool that returned EADDRNOTAVAIL")          \
  X(pool_econnrefused, "connects by the pool that returned ECONNREFUSED")            \
  X(pool_etimedout, "connects by the pool that returned ETIMEDOUT")                  \
  X(pool_enetunreach, "connects by the pool that returned ENETUNREACH")              \
  X(pool_ehostunreach, "connects by the pool that returned EHOSTUNREACH")            \
  X(pool_eintr, "connects by the pool that returned EINTR")                          \
  X(pool_other, "connects by the pool that returned any other error")                \
  X(passthrough_own_port, "connects on sockets whose port the program chose itself") \
  X(rejections, "claimed ports that the kernel refused (EADDRNOTAVAIL)")             \
  X(released_free, "ports given back that the kernel has let go of")                 \
  X(released_quarantine, "ports given back that reconcile has to look at first")     \
  X(failed_fast, "connects refused at once because nothing was free (fail-fast)")    \
  X(binds_deferred, "bind(address, 0) that took no port")                            \
  X(binds_made_real, "deferred binds whose port the program asked for")              \
  X(lane_requests, "requests for a lane that were placed")                           \
  X(attaches, "processes that mapped the segment")                                   \
  X(kernel_ok, "connects by the kernel that returned 0")                             \
  X(kernel_in_progress, "connects by the kernel that returned EINPROGRESS")          \
  X(kernel_eaddrnotavail, "connects by the kernel that returned EADDRNOTAVAIL")      \
  X(kernel_econnrefused, "connects by the kernel that returned ECONNREFUSED")        \
  X(kernel_etimedout, "connects by the kernel that returned ETIMEDOUT")              \
  X(kernel_enetunreach, "connects by the kernel that returned ENETUNREACH")          \
  X(kernel_ehostunreach, "connects by the kernel that returned EHOSTUNREACH")        \
  X(kernel_eintr, "connects by the kernel that returned EINTR")                      \
  X(kernel_other, "connects by the kernel that returned any other error")            \
  X(ports_promised, "ports that programs were told before the connect (early_bind)") \
  X(promises_broken, "connects that left from another port than was promised")

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
