// Why a call that was portpool's took the kernel's path. One table: name, sentence.
//
// A call that was never portpool's (UDP, AF_UNIX, a port chosen by the program) is a passthrough
// and has no reason.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace portpool {

// name: as it stands in JSON and metrics. sentence: completes "took the kernel's path because ...".
#define PORTPOOL_FALLBACK_REASONS(X)                                                              \
  X(no_daemon, "no daemon answered on the socket")                                                \
  X(attach_refused, "the daemon refused this process (see socket_group)")                         \
  X(attach_timeout, "the daemon did not hand over the segment within 50 ms")                      \
  X(attach_failed, "the segment could not be received or mapped (descriptor or memory limit)")    \
  X(layout_mismatch,                                                                              \
    "daemon and library have different layout versions; install both from one build")             \
  X(segment_invalid, "the segment's header is damaged or is not portpool's")                      \
  X(other_netns, "the daemon or the socket belongs to another network namespace")                 \
  X(stale_heartbeat, "the daemon's heartbeat has stopped")                                        \
  X(no_lane, "the destination had no lane yet; one is made when it is called again")              \
  X(lane_refused, "the daemon keeps no lane for this destination")                                \
  X(lane_full, "no port of the lane was free")                                                    \
  X(rejected, "the kernel refused every claimed port that was tried")                             \
  X(pin_failed, "the socket does not accept a pinned port")                                       \
  X(own_port_range, "the program set IP_LOCAL_PORT_RANGE on the socket itself")                   \
  X(unusual_address, "a link-local or unspecified destination has no lane")                       \
  X(unusual_socket, "the socket could not be examined")                                           \
  X(source_failed, "no source address of the pool leads to the destination")                      \
  X(own_route, "the program chose mark or device, and by which source address cannot be told")    \
  X(rewritten,                                                                                    \
    "the destination is rewritten on the way (a service address), so its ports are "              \
    "those of others")                                                                            \
  X(no_pool, "the configuration keeps this destination out of the pool (pool = \"none\")")        \
  X(no_source, "none of the source addresses that the pool names is on this host")                \
  X(half_bound, "half of the range is bound by the pool, and the rest is left to other programs") \
  X(seccomp,                                                                                      \
    "the program has installed a seccomp filter, and the library makes no system call of its "    \
    "own any more")

enum class FallbackReason : std::uint32_t {
#define PORTPOOL_X(name, sentence) k_##name,
  PORTPOOL_FALLBACK_REASONS(PORTPOOL_X)
#undef PORTPOOL_X
      k_count
};

struct FallbackText {
  std::string_view name;
  std::string_view sentence;
};

inline constexpr std::array kFallbackTexts = {
#define PORTPOOL_X(name, sentence) FallbackText{#name, sentence},
    PORTPOOL_FALLBACK_REASONS(PORTPOOL_X)
#undef PORTPOOL_X
};

inline constexpr std::size_t kFallbackReasons = static_cast<std::size_t>(FallbackReason::k_count);
static_assert(kFallbackTexts.size() == kFallbackReasons);

// Of a reason, not of k_count.
constexpr std::string_view name_of(FallbackReason reason) {
  return kFallbackTexts[static_cast<std::size_t>(reason)].name;
}

}  // namespace portpool
