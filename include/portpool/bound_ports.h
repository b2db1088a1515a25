// The ports that the pool has bound for whatever destination (bind strategy): to the kernel's own
// choice, and so to programs outside the pool, each of them is lost.
#pragma once

#include <bit>

#include "portpool/port_map.h"

namespace portpool {

// A socket of the pool is bound to it.
inline void note_bound(BoundPorts& bound, std::uint16_t port) {
  const std::uint64_t bit = bit_of_port(port);
  std::atomic<std::uint64_t>& word = bound.words[word_of_port(port)];
  if ((word.load(std::memory_order_relaxed) & bit) != 0) return;
  if ((word.fetch_or(bit, std::memory_order_relaxed) & bit) == 0) {
    bound.count.fetch_add(1, std::memory_order_relaxed);
  }
}

// Claims a free port of the lane that is bound already, the longest free first, at random among
// those of a word. -1: there is none. Looks through the range, at most kFreeMaps times.
inline int claim_bound(LaneHints& lane, const BoundPorts& bound, const PortRange& range,
                       std::uint64_t random) {
  if (range.empty()) return -1;
  const std::uint32_t first = first_word(range);
  const std::uint32_t words = last_word(range) - first + 1;
  const auto start = static_cast<std::uint32_t>(random >> 32) % words;
  const auto oldest =
      FreeRing::unpack(ring_of(lane, Parity::even).load(std::memory_order_relaxed)).oldest;
  for (std::uint32_t age = 0; age < kFreeMaps; ++age) {
    const PortMap map = free_map(lane, oldest + age);
    if (map.top.load(std::memory_order_relaxed) == 0) continue;
    for (std::uint32_t step = 0; step < words; ++step) {
      const std::uint32_t word = first + (start + step) % words;
      const std::uint64_t bits = map.words[word].load(std::memory_order_relaxed) &
                                 bound.words[word].load(std::memory_order_relaxed);
      if (bits == 0) continue;
      const auto port = port_at(word, detail::pick_bit(bits, random));
      if (remove_port(map, port)) return port;
    }
  }
  return -1;
}

}  // namespace portpool
