#include "lanes/supply.h"

#include <algorithm>
#include <bit>

#include "lanes/lane_update.h"

namespace portpool {
namespace {

// A lane is low with fewer free ports than one in 16, and than this many.
constexpr std::uint32_t kLowShare = 16;
constexpr std::uint32_t kLowMost = 1024;

// How many of the range's ports are in the set that `bits_of` gives for each word.
template <class BitsOf>
std::uint32_t count_in(const PortRange& range, BitsOf bits_of) {
  std::uint32_t count = 0;
  for (std::size_t w = first_word(range); w <= last_word(range); ++w) {
    count += static_cast<std::uint32_t>(std::popcount(bits_of(w) & range_bits(range, w)));
  }
  return count;
}

}  // namespace

void Supply::begin(bool all) {
  if (all) std::fill(std::begin(taken_), std::end(taken_), 0);
}

void Supply::add(const PortBits& taken) {
  for (std::size_t w = 0; w < kPortWords; ++w) taken_[w] |= taken[w];
}

// Only clients know which ports are bound and which the kernel has chosen. What one has bound since
// the dump is not taken away: only what two passes have not seen.
void Supply::note_bound(BoundPorts& bound) {
  std::uint32_t count = 0;
  for (std::size_t w = 0; w < kPortWords; ++w) {
    const std::uint64_t before = bound.words[w].load(std::memory_order_relaxed);
    const std::uint64_t absent = before & ~taken_[w];
    const std::uint64_t gone = absent & absent_[w];
    absent_[w] = absent;
    if (gone != 0) bound.words[w].fetch_and(~gone, std::memory_order_relaxed);
    count += static_cast<std::uint32_t>(std::popcount(before & ~gone));
  }
  bound.count.store(count, std::memory_order_relaxed);
}

bool Supply::note(LaneInfo& info, LaneHints& hints, LaneRecord& record, const LaneTruth* truth,
                  const BlockedPorts& blocked, bool exposed) {
  const PortRange& range = record.range;
  // After an update the marks are right, and a map that was never used is to cost no memory.
  const LaneCounts counts = count_lane(hints, range, CountFrom::marked_maps);
  record.free = counts.free;
  const std::uint32_t first_choice = counts.free - counts.reusable;
  const bool low = first_choice < std::clamp(counts.capacity / kLowShare, 1U, kLowMost);
  info.low.store(low ? 1 : 0, std::memory_order_relaxed);
  std::uint32_t crowding =
      info.crowding.load(std::memory_order_relaxed) & ~std::uint32_t{Crowding::exposed};
  if (truth != nullptr) {
    const std::uint32_t refused = count_in(range, [&](std::size_t w) {
      const TruthWord& word = truth->word(w);
      return word.used | word.waiting | blocked.bits[w];
    });
    if (++findings_ == 0) ++findings_;
    info.full.store(refused == counts.capacity ? findings_ : 0, std::memory_order_relaxed);
    const std::uint32_t taken =
        count_in(range, [&](std::size_t w) { return taken_[w] | blocked.bits[w]; });
    crowding = taken >= counts.capacity - counts.capacity / 4 ? Crowding::crowded : 0;
  } else if (counts.free > 0) {
    info.full.store(0, std::memory_order_relaxed);
  }
  if (exposed) crowding |= Crowding::exposed;
  info.crowding.store(crowding, std::memory_order_relaxed);
  return first_choice > counts.capacity / 4;
}

}  // namespace portpool
