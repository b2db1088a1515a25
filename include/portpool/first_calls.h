// Which keys came lately: a lane is asked for when a key comes again within two seconds, from
// whatever process.
//
// Scanners, crawlers and FTP's data connections call each destination once; a lane for it would
// cost poold a reading of the kernel's table, and somebody else the place, for nothing. So a first
// call leaves a mark here, and poold hears nothing of it.
//
// A table of marks without an owner: a place has eight, of which a new one replaces the oldest. Two
// that write at once lose one mark, and whoever may attach can write anything here: a lane is asked
// for a call later or sooner than it should be.
#pragma once

#include <atomic>
#include <cstdint>

#include "portpool/endpoint.h"
#include "portpool/segment.h"

namespace portpool {

inline constexpr std::uint16_t kMarkBeats = 2000 / kHeartbeatMs;

// Whether `key` came within the last kMarkBeats; if not, its mark is left for the next call.
inline bool came_lately(const SegmentView& view, const LaneKey& key) {
  // The segment of an older poold.
  if (view.first_calls_count() == 0) return true;
  const std::uint64_t hash = hash_of(key);
  const auto beat =
      static_cast<std::uint16_t>(view.header().heartbeat.load(std::memory_order_relaxed));
  FirstCalls& place = view.first_calls(static_cast<std::uint32_t>(hash));
  std::size_t to_go = 0;
  std::uint32_t longest = 0;
  for (std::size_t i = 0; i < kMarksPerPlace; ++i) {
    const std::uint64_t mark = place.marks[i].load(std::memory_order_relaxed);
    const auto age = static_cast<std::uint16_t>(beat - static_cast<std::uint16_t>(mark));
    if (mark >> 16 == hash >> 16) {
      if (age <= kMarkBeats) return true;
      to_go = i;
      break;
    }
    const std::uint32_t unused = mark != 0 ? age : 0x10000U;
    if (unused > longest) {
      longest = unused;
      to_go = i;
    }
  }
  place.marks[to_go].store(hash >> 16 << 16 | beat, std::memory_order_relaxed);
  return false;
}

}  // namespace portpool
