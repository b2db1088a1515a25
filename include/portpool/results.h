// What a connect() returned. One table: name in JSON and metrics, and what completes "connects
// that". Each result has a counter for each path (counters.h).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "portpool/counters.h"
#include "portpool/latency.h"

namespace portpool {

#define PORTPOOL_RESULTS(X)                                            \
  X(ok, "ok", "returned 0")                                            \
  X(in_progress, "in_progress", "returned EINPROGRESS (non-blocking)") \
  X(eaddrnotavail, "EADDRNOTAVAIL", "returned EADDRNOTAVAIL")          \
  X(econnrefused, "ECONNREFUSED", "returned ECONNREFUSED")             \
  X(etimedout, "ETIMEDOUT", "returned ETIMEDOUT")                      \
  X(enetunreach, "ENETUNREACH", "returned ENETUNREACH")                \
  X(ehostunreach, "EHOSTUNREACH", "returned EHOSTUNREACH")             \
  X(eintr, "EINTR", "returned EINTR")                                  \
  X(other, "other", "returned any other error")

enum class ConnectResult : std::uint32_t {
#define PORTPOOL_X(id, name, sentence) k_##id,
  PORTPOOL_RESULTS(PORTPOOL_X)
#undef PORTPOOL_X
      k_count
};

struct ResultText {
  std::string_view name;
  std::string_view sentence;
};

inline constexpr std::array kResultTexts = {
#define PORTPOOL_X(id, name, sentence) ResultText{name, sentence},
    PORTPOOL_RESULTS(PORTPOOL_X)
#undef PORTPOOL_X
};

// EINPROGRESS is none: how that call ends is not seen.
constexpr bool is_failure(ConnectResult result) {
  return result != ConnectResult::k_ok && result != ConnectResult::k_in_progress;
}

inline constexpr std::size_t kConnectResults = static_cast<std::size_t>(ConnectResult::k_count);
static_assert(kResultTexts.size() == kConnectResults);

// The counters of a path stand one after the other, in the order of this table.
constexpr Counter result_counter(Route path, ConnectResult result) {
  const Counter first = path == Route::pool ? Counter::k_pool_ok : Counter::k_kernel_ok;
  return static_cast<Counter>(static_cast<std::uint32_t>(first) +
                              static_cast<std::uint32_t>(result));
}
#define PORTPOOL_X(id, name, sentence)                                                       \
  static_assert(result_counter(Route::pool, ConnectResult::k_##id) == Counter::k_pool_##id); \
  static_assert(result_counter(Route::kernel, ConnectResult::k_##id) == Counter::k_kernel_##id);
PORTPOOL_RESULTS(PORTPOOL_X)
#undef PORTPOOL_X

}  // namespace portpool
