// Destinations that are rewritten on their way into the kernel, by a program at cgroup/connect4 or
// connect6 (service addresses under a socket load balancer): their connections take the 4-tuples of
// other destinations, each time of another one perhaps, so a lane would say nothing about them.
#pragma once

#include <chrono>
#include <cstddef>
#include <unordered_map>

#include "portpool/endpoint.h"

namespace portpool {

class RewrittenDestinations {
 public:
  // So long a destination has no lanes. Then it is tried again: the program may be gone, or it was
  // never there (who reports it may write anything).
  static constexpr std::chrono::seconds kRest{10};
  // More than there can be lanes to notice it on; what comes then is not kept.
  static constexpr std::size_t kMost = 16'384;

  RewrittenDestinations() = default;
  explicit RewrittenDestinations(std::chrono::nanoseconds rest) : rest_(rest) {}

  // True when it was not known.
  bool note(const Endpoint& destination);
  bool contains(const Endpoint& destination) const;

 private:
  using Clock = std::chrono::steady_clock;

  static LaneKey key_of(const Endpoint& destination) {
    return {{}, destination.address, destination.port};
  }
  void drop_old();

  std::chrono::nanoseconds rest_ = kRest;
  std::unordered_map<LaneKey, Clock::time_point, KeyHash> until_;
};

}  // namespace portpool
