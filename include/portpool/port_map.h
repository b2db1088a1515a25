// Claim, release and quarantine on a lane's bits: lock-free, a bounded number of steps, no system
// call.
//
// Each map is a three-level bitmap (65,536 bits, 1,024 words, 16 mid words, one top word), for even
// and odd ports apart (port_place.h): finding a set bit of either kind costs three loads at any
// occupancy. The upper levels are hints for the lower ones. A setter sets the word first and then,
// when the word was empty, the levels above; a taker that empties a word clears the level above and
// then looks at the word again. With sequentially consistent operations no set bit stays
// unreachable, unless a process dies between the two steps; repair() mends that.
//
// Free ports stand in four maps, which are a ring ordered by age, one for each parity. Claims take
// from the oldest, at random; releases go to the youngest. When the oldest is empty the ring turns
// by one. Claims ask for one parity first, and for the other when that has no free port left. With
// three ages in play, as poold keeps them, a freed port comes back after about two thirds of the
// free ports; which one comes next cannot be foretold (RFC 6056).
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>

#include "portpool/hints.h"
#include "portpool/port_place.h"

namespace portpool {

// One of a lane's maps.
struct PortMap {
  std::atomic<std::uint32_t>& top;
  std::atomic<std::uint64_t> (&mid)[kPortMidWords];
  std::atomic<std::uint64_t> (&words)[kPortWords];
};

inline PortMap port_map(LaneHints& lane, PortMapId id) {
  const auto index = static_cast<std::size_t>(id);
  return {lane.top[index], lane.mid[index], lane.words[index]};
}

inline PortMap free_map(LaneHints& lane, std::uint32_t position) {
  return port_map(lane, static_cast<PortMapId>(position % kFreeMaps));
}

// Ports that are claimed only when none is free: those in TIME_WAIT that connect() may take over,
// oldest first.
inline PortMap reuse_map(LaneHints& lane, std::uint32_t age) {
  return port_map(lane, static_cast<PortMapId>(kFreeMaps + age % kReuseMaps));
}

namespace detail {

// The next number of a sequence that starts at an unforeseeable value (splitmix64's finalizer).
constexpr std::uint64_t next_random(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15ULL;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

constexpr std::uint64_t bit_of(std::uint32_t index) { return std::uint64_t{1} << (index % 64); }

// A set bit of `mask`, which is not 0: the first of three random places that holds one, else the
// next one after a fourth place. Nearly even, in constant time. `place_of` makes a place, 0..63, of
// the lowest `kBits` bits of `random`, of which four times as many are used.
template <int kBits, class PlaceOf>
constexpr std::uint32_t pick_bit_by(std::uint64_t mask, std::uint64_t random, PlaceOf place_of) {
  for (int attempt = 0; attempt < 3; ++attempt, random >>= kBits) {
    if ((mask >> place_of(random) & 1) != 0) return place_of(random);
  }
  const auto turn = static_cast<int>(place_of(random));
  return static_cast<std::uint32_t>(std::countr_zero(std::rotr(mask, turn)) + turn) & 63;
}

constexpr std::uint32_t pick_bit(std::uint64_t mask, std::uint64_t random) {
  return pick_bit_by<6>(mask, random,
                        [](std::uint64_t r) { return static_cast<std::uint32_t>(r & 63); });
}

// A set bit of `mask`, each as likely as the others. mask is not 0.
constexpr std::uint32_t pick_bit_evenly(std::uint32_t mask, std::uint64_t random) {
  for (auto skip = random % static_cast<unsigned>(std::popcount(mask)); skip > 0; --skip) {
    mask &= mask - 1;
  }
  return static_cast<std::uint32_t>(std::countr_zero(mask));
}

// The bits of a mid word that stand for words of that parity.
constexpr std::uint64_t mid_bits(Parity parity) {
  return std::uint64_t{0x5555'5555'5555'5555} << index_of(parity);
}

// The even half of a top word is its lower one.
constexpr std::uint32_t top_bit(std::uint32_t group, Parity parity) {
  return 1U << (group + kPortMidWords * index_of(parity));
}

// The groups whose mid words have such bits, by a top word.
constexpr std::uint32_t groups_in(std::uint32_t top, Parity parity) {
  return top >> (kPortMidWords * index_of(parity)) & 0xFFFFU;
}

// Of the mid bits of one parity, of which `mask` has at least one and no others.
constexpr std::uint32_t pick_mid_bit(std::uint64_t mask, Parity parity, std::uint64_t random) {
  return pick_bit_by<5>(mask, random, [parity](std::uint64_t r) {
    return static_cast<std::uint32_t>(r & 31) * 2 + index_of(parity);
  });
}

inline void mark_word(PortMap map, std::uint32_t word) {
  const std::uint32_t group = word / 64;
  const Parity parity = parity_of(word);
  if ((map.mid[group].fetch_or(bit_of(word)) & mid_bits(parity)) == 0) {
    map.top.fetch_or(top_bit(group, parity));
  }
}

inline void unmark_group(PortMap map, std::uint32_t group, Parity parity) {
  map.top.fetch_and(~top_bit(group, parity));
  if ((map.mid[group].load() & mid_bits(parity)) != 0) map.top.fetch_or(top_bit(group, parity));
}

inline void unmark_word(PortMap map, std::uint32_t word) {
  const std::uint32_t group = word / 64;
  const std::uint64_t bit = bit_of(word);
  const Parity parity = parity_of(word);
  const bool emptied = (map.mid[group].fetch_and(~bit) & mid_bits(parity)) == bit;
  if (map.words[word].load() != 0) {
    mark_word(map, word);
  } else if (emptied) {
    unmark_group(map, group, parity);
  }
}

}  // namespace detail

// By the upper level, which is a hint.
inline bool has_any(PortMap map, Parity parity) {
  return detail::groups_in(map.top.load(), parity) != 0;
}

// Sets the port's bit. False: it was set already.
inline bool put_port(PortMap map, std::uint16_t port) {
  const std::uint32_t word = word_of_port(port);
  const std::uint64_t bit = bit_of_port(port);
  const std::uint64_t before = map.words[word].fetch_or(bit);
  if (before == 0) detail::mark_word(map, word);
  return (before & bit) == 0;
}

// Clears the port's bit. True: it was set, and the caller is the one who took it.
inline bool remove_port(PortMap map, std::uint16_t port) {
  const std::uint32_t word = word_of_port(port);
  const std::uint64_t bit = bit_of_port(port);
  if ((map.words[word].load(std::memory_order_relaxed) & bit) == 0) return false;
  const std::uint64_t before = map.words[word].fetch_and(~bit);
  if (before == bit) detail::unmark_word(map, word);
  return (before & bit) != 0;
}

inline bool has_port(PortMap map, std::uint16_t port) {
  return (map.words[word_of_port(port)].load(std::memory_order_relaxed) & bit_of_port(port)) != 0;
}

// Takes any port of that parity at random; -1 when the map looks as if it had none. Steps lost to
// other takers are bounded.
inline int take_port(PortMap map, Parity parity, std::uint64_t random) {
  constexpr int kSteps = 64;
  for (int step = 0; step < kSteps; ++step, random = detail::next_random(random)) {
    const std::uint32_t groups = detail::groups_in(map.top.load(std::memory_order_acquire), parity);
    if (groups == 0) return -1;
    const std::uint32_t group = detail::pick_bit_evenly(groups, random >> 48);
    const std::uint64_t mid =
        map.mid[group].load(std::memory_order_acquire) & detail::mid_bits(parity);
    if (mid == 0) {
      detail::unmark_group(map, group, parity);
      continue;
    }
    const std::uint32_t word = group * 64 + detail::pick_mid_bit(mid, parity, random);
    const std::uint64_t bits = map.words[word].load(std::memory_order_relaxed);
    if (bits == 0) {
      detail::unmark_word(map, word);
      continue;
    }
    const std::uint32_t bit = detail::pick_bit(bits, random >> 24);
    const std::uint64_t before = map.words[word].fetch_and(~detail::bit_of(bit));
    if ((before & detail::bit_of(bit)) == 0) continue;
    if (before == detail::bit_of(bit)) detail::unmark_word(map, word);
    return port_at(word, bit);
  }
  return -1;
}

// Makes the upper levels agree with the words `first` to `last` again; for poold, after clients may
// have died. Looks at no other word: memory that was never used stays unused.
inline void repair(PortMap map, std::uint32_t first, std::uint32_t last) {
  for (std::uint32_t word = first; word <= last && word < kPortWords; ++word) {
    const bool marked = (map.mid[word / 64].load() & detail::bit_of(word)) != 0;
    const bool filled = map.words[word].load() != 0;
    if (filled && !marked) detail::mark_word(map, word);
    if (!filled && marked) detail::unmark_word(map, word);
  }
  for (std::uint32_t group = first / 64; group <= last / 64 && group < kPortMidWords; ++group) {
    for (const Parity parity : {Parity::even, Parity::odd}) {
      if ((map.mid[group].load() & detail::mid_bits(parity)) != 0) {
        map.top.fetch_or(detail::top_bit(group, parity));
      }
    }
  }
}

// Of the ports of one parity: which of the free maps is oldest (claims) and which youngest
// (releases).
struct FreeRing {
  std::uint32_t oldest;    // 0..3
  std::uint32_t youngest;  // 0..3

  static constexpr FreeRing unpack(std::uint32_t word) {
    return {word % kFreeMaps, word / kFreeMaps % kFreeMaps};
  }
  constexpr std::uint32_t pack() const { return oldest + youngest * kFreeMaps; }

  // 1..4 maps are in play, from oldest to youngest.
  constexpr std::uint32_t length() const { return (youngest + kFreeMaps - oldest) % kFreeMaps + 1; }
  constexpr FreeRing drop_oldest() const { return {(oldest + 1) % kFreeMaps, youngest}; }
  constexpr FreeRing add_youngest() const { return {oldest, (youngest + 1) % kFreeMaps}; }
};

inline std::atomic<std::uint32_t>& ring_of(LaneHints& lane, Parity parity) {
  return lane.ring[index_of(parity)];
}

// Claims a free port of that parity, the longest free first. -1: nothing to claim. `random` is used
// as it is and must not be foreseeable from outside.
inline int claim_free_of(LaneHints& lane, Parity parity, std::uint64_t random) {
  std::atomic<std::uint32_t>& ages = ring_of(lane, parity);
  for (std::uint32_t turn = 0; turn <= kFreeMaps; ++turn) {
    std::uint32_t word = ages.load(std::memory_order_relaxed);
    const FreeRing ring = FreeRing::unpack(word);
    if (const int port = take_port(free_map(lane, ring.oldest), parity, random); port >= 0) {
      // Releases must not join the map that claims are taken from: that would bring ports back
      // early.
      if (ring.length() == 1) {
        ages.compare_exchange_strong(word, ring.add_youngest().pack(), std::memory_order_relaxed);
      }
      return port;
    }
    if (ring.length() == 1) {
      // A release that met a turn of the ring may have put its port into any map.
      for (std::uint32_t map = 0; map < kFreeMaps; ++map) {
        if (const int port = take_port(free_map(lane, map), parity, random); port >= 0) return port;
      }
      break;
    }
    FreeRing next = ring.drop_oldest();
    if (next.length() < kFreeMaps && has_any(free_map(lane, next.youngest), parity)) {
      next = next.add_youngest();
    }
    ages.compare_exchange_strong(word, next.pack(), std::memory_order_relaxed);
  }
  return -1;
}

// Claims a free port, of parity `first` as long as there is one.
inline int claim_free(LaneHints& lane, Parity first, std::uint64_t random) {
  const int port = claim_free_of(lane, first, random);
  return port >= 0 ? port : claim_free_of(lane, other(first), random);
}

// The same for TIME_WAIT that may be taken over, oldest first, whatever its parity.
inline int claim_reusable(LaneHints& lane, Parity first, std::uint64_t random) {
  for (std::uint32_t age = 0; age < kReuseMaps; ++age) {
    const PortMap map = reuse_map(lane, age);
    if (map.top.load(std::memory_order_relaxed) == 0) continue;
    for (const Parity parity : {first, other(first)}) {
      if (const int port = take_port(map, parity, random); port >= 0) return port;
    }
  }
  return -1;
}

// What may be claimed: free ports, and only when there is none of either parity TIME_WAIT.
inline int claim(LaneHints& lane, Parity first, std::uint64_t random) {
  const int port = claim_free(lane, first, random);
  return port >= 0 ? port : claim_reusable(lane, first, random);
}

// Nothing of the first choice is left.
inline bool free_is_empty(const LaneHints& lane) {
  std::uint32_t tops = 0;
  for (std::uint32_t map = 0; map < kFreeMaps; ++map) {
    tops |= lane.top[map].load(std::memory_order_relaxed);
  }
  return tops == 0;
}

// Gives a port back as free: it goes behind all ports that are free already.
inline void release(LaneHints& lane, std::uint16_t port) {
  const std::uint32_t ages = ring_of(lane, parity_of(port)).load(std::memory_order_relaxed);
  put_port(free_map(lane, FreeRing::unpack(ages).youngest), port);
}

}  // namespace portpool
