// The kernel's clocks in nanoseconds.
#pragma once

#include <cstdint>
#include <ctime>

namespace portpool {

// A clock of clock_gettime(2), which cannot fail for the clocks that Linux has.
inline std::uint64_t clock_ns(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000U +
         static_cast<std::uint64_t>(t.tv_nsec);
}

// What this thread has used of a CPU so far, in user mode and in the kernel.
inline std::uint64_t thread_cpu_ns() { return clock_ns(CLOCK_THREAD_CPUTIME_ID); }

// Microseconds, for people and for JSON.
template <class Number>
constexpr double to_us(Number ns) {
  return static_cast<double>(ns) / 1000;
}

}  // namespace portpool
