// A lane as programs use it: the structure says what it is, the hints offer ports.
#pragma once

#include <cstdint>

#include "portpool/port_map.h"
#include "portpool/segment.h"

namespace portpool {

// Ports below belong to the system (RFC 6335 section 6): no lane gives one out, whatever stands in
// its hints, also to programs of root and where ip_unprivileged_port_start is lower.
inline constexpr std::uint16_t kLowestPort = 1024;

// What a lane is, read in one piece.
struct LaneIdentity {
  LaneKey key;
  PortRange ports;
  std::uint32_t pool = 0;
};

// A port that was checked: it lies in the lane's range and is not privileged. There is no other way
// to one, so that a number from the hints cannot get to a socket.
class Port {
 public:
  Port() = default;

  static bool check(int number, const PortRange& range, Port& out) {
    if (number < kLowestPort || !range.contains(static_cast<std::uint32_t>(number))) return false;
    out.number_ = static_cast<std::uint16_t>(number);
    return true;
  }
  std::uint16_t number() const { return number_; }  // host order; 0: none

 private:
  std::uint16_t number_ = 0;
};

// The lane that `ref` means is (still) in service. Acquire: what poold stored before it took the
// lane out of service, or gave its place to another, is seen after a false.
inline bool in_service(const SegmentView& view, LaneRef ref) {
  return ref.generation != 0 &&
         view.lane_info(ref.index).generation.load(std::memory_order_acquire) == ref.generation;
}

// False: it is not in service any more, or is being changed.
inline bool read_lane(const SegmentView& view, LaneRef ref, LaneIdentity& out) {
  if (!in_service(view, ref)) return false;
  const LaneInfo& info = view.lane_info(ref.index);
  out.key = load_key(info.key);
  out.ports = PortRange::unpack(info.ports.load(std::memory_order_relaxed));
  out.pool = info.pool.load(std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_acquire);
  return info.generation.load(std::memory_order_relaxed) == ref.generation;
}

// From this port a socket of the lane would connect to itself (a simultaneous open, RFC 9293
// section 3.5), where nobody listens there.
inline bool leads_to_itself(const LaneInfo& info, int number) {
  if (info.key[kKeyWords - 1].load(std::memory_order_relaxed) !=
      static_cast<std::uint64_t>(number)) {
    return false;
  }
  const LaneKey key = load_key(info.key);
  return key.source == key.destination;
}

// Checks a number from the hints against what the lane may give out.
inline bool check_port(const LaneInfo& info, int number, Port& out) {
  const auto range = PortRange::unpack(info.ports.load(std::memory_order_relaxed));
  return !leads_to_itself(info, number) && Port::check(number, range, out);
}

// Which of a lane's ports are asked for.
enum class Offer { any, free, reusable };

enum class Claim {
  port,   // `out` is the caller's
  empty,  // nothing to claim
  wrong,  // the hints offered what the lane cannot have; another try may do better
  gone,   // the lane is not in service any more; nothing was kept
};

// The parity that the kernel's own connect() takes first, and leaves the other one to bind(0) and
// to services, until it is used up.
inline Parity first_parity(const SegmentView& view) {
  return parity_of(PortRange::unpack(view.header().port_range.load(std::memory_order_relaxed)).low);
}

// Claims a port of the lane, of parity `first` while one is free. The look at its generation comes
// after the claim: a port that was put there for another lane has been put there after poold stored
// another generation, and the claim (sequentially consistent) makes that visible.
inline Claim claim_port(const SegmentView& view, LaneRef ref, Offer offer, Parity first,
                        std::uint64_t random, Port& out) {
  LaneHints& hints = view.lane_hints(ref.index);
  const int number = offer == Offer::free       ? claim_free(hints, first, random)
                     : offer == Offer::reusable ? claim_reusable(hints, first, random)
                                                : claim(hints, first, random);
  if (!in_service(view, ref)) {
    if (number >= 0) release(hints, static_cast<std::uint16_t>(number));
    return Claim::gone;
  }
  if (number < 0) return Claim::empty;
  return check_port(view.lane_info(ref.index), number, out) ? Claim::port : Claim::wrong;
}

// Claims that very port, if the lane has it to give.
inline bool claim_this_port(const SegmentView& view, LaneRef ref, std::uint16_t number, Port& out) {
  if (!check_port(view.lane_info(ref.index), number, out)) return false;
  LaneHints& hints = view.lane_hints(ref.index);
  for (std::uint32_t map = 0; map < kFreeMaps + kReuseMaps; ++map) {
    if (!remove_port(port_map(hints, static_cast<PortMapId>(map)), number)) continue;
    if (in_service(view, ref)) return true;
    release(hints, number);
    return false;
  }
  return false;
}

}  // namespace portpool
