// Brings one lane's maps into agreement with the kernel's table, while clients go on claiming and
// releasing. Every step is an atomic operation on a word of bits, and a port that changes hands in
// between is left to whoever won.
#pragma once

#include <vector>

#include "lanes/truth.h"
#include "portpool/hints.h"

namespace portpool {

struct LaneChanges {
  std::uint32_t withdrawn = 0;  // claimable in the lane, but in use in the kernel
  std::uint32_t returned = 0;   // made claimable
  std::uint32_t total() const { return withdrawn + returned; }
};

// A new lane that no client has seen yet: every port gets its place at once.
void fill_lane(LaneHints& lane, const LaneRecord& record, const LaneTruth& truth,
               const BlockedPorts& blocked);

// Empties a lane that no client can find, and gives its memory back.
void clear_lane(LaneHints& lane);

// Takes the ports that are not in `range` out of all maps. Ports that are new in it come in with
// the next reconciles.
void drop_outside(LaneHints& lane, const kernel::PortRange& range);

// `truth` must come from a complete dump. A port in no map that the kernel does not know is freed
// as its ExpectedLane::claims says.
LaneChanges update_lane(LaneHints& lane, LaneRecord& record, const LaneTruth& truth,
                        const BlockedPorts& blocked);

// The same for the ports of `only`, about which `truth` was asked one by one.
LaneChanges update_ports(LaneHints& lane, LaneRecord& record, const LaneTruth& truth,
                         const BlockedPorts& blocked, const PortBits& only);

// Ports that a client may claim although the dump saw them in use, at most `limit` (any of them):
// others have taken them, or a client had them for a moment while the dump went on.
std::vector<std::uint16_t> contradicted_ports(LaneHints& lane, const LaneTruth& truth,
                                              std::size_t limit);

// Frees what has been in the rejected map for a whole sweep; call every second or so.
void sweep_rejected(LaneHints& lane, LaneRecord& record);

struct LaneCounts {
  std::uint32_t capacity = 0;
  std::uint32_t in_use = 0;
  std::uint32_t free = 0;         // reusable TIME_WAIT included
  std::uint32_t reusable = 0;     // TIME_WAIT that may be taken over
  std::uint32_t quarantined = 0;  // rejected ones included
  std::uint32_t blocked = 0;
};

// Most maps of a lane are empty, and their upper levels say so: looking at the others alone is half
// the work. It may miss a map for an instant, or until the next pass when a client has died between
// two steps; good enough to be shown, not to be acted upon.
enum class CountFrom { every_map, marked_maps };
LaneCounts count_lane(LaneHints& lane, const PortRange& ports,
                      CountFrom from = CountFrom::every_map);

// The ports in the lane's quarantine, at most `limit` (any of them).
std::vector<std::uint16_t> quarantined_ports(LaneHints& lane, const kernel::PortRange& range,
                                             std::size_t limit);

}  // namespace portpool
