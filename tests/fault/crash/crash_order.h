// What the driver orders, in a file that the library's and poold's builds for these tests map
// (include/portpool/crash_point.h): "the Nth passage of that point, whoever makes it, kills or
// stops who makes it".
#pragma once

#include <atomic>
#include <cstdint>

namespace portpool::test {

// Names the file, for all who have crash points.
inline constexpr const char* kCrashOrderVariable = "PORTPOOL_CRASH_ORDER";

struct CrashOrder {
  // Passages until it happens; 0: there is no order. Who makes it 0 obeys. The rest is written
  // while it is 0.
  std::atomic<std::uint32_t> passages_left;
  std::uint32_t signal;
  char point[32];
  std::atomic<std::int32_t> obeyed_by;  // pid
};
static_assert(std::atomic<std::uint32_t>::is_always_lock_free);

}  // namespace portpool::test
