#include "lanes/lane_update.h"

#include <sys/mman.h>

#include <array>
#include <bit>
#include <cerrno>
#include <random>
#include <system_error>

#include "portpool/port_map.h"

namespace portpool {
namespace {

// Sets of 64 ports are moved a word at a time.
std::uint64_t load(LaneHints& lane, std::size_t map, std::size_t word) {
  return lane.words[map][word].load(std::memory_order_relaxed);
}

// Returns the bits that were really taken out.
std::uint64_t take_bits(LaneHints& lane, std::size_t map, std::size_t word, std::uint64_t bits) {
  if ((load(lane, map, word) & bits) == 0) return 0;
  const PortMap ports = port_map(lane, static_cast<PortMapId>(map));
  const std::uint64_t before = ports.words[word].fetch_and(~bits);
  if ((before & ~bits) == 0) detail::unmark_word(ports, static_cast<std::uint32_t>(word));
  return before & bits;
}

void put_bits(LaneHints& lane, std::size_t map, std::size_t word, std::uint64_t bits) {
  if (bits == 0) return;
  const PortMap ports = port_map(lane, static_cast<PortMapId>(map));
  if (ports.words[word].fetch_or(bits) == 0) {
    detail::mark_word(ports, static_cast<std::uint32_t>(word));
  }
}

std::uint64_t take_from_all(LaneHints& lane, std::size_t word, std::uint64_t bits,
                            std::size_t except) {
  std::uint64_t taken = 0;
  for (std::size_t map = 0; map < kPortMaps; ++map) {
    if (map != except) taken |= take_bits(lane, map, word, bits);
  }
  return taken;
}

constexpr auto kQuarantine = static_cast<std::size_t>(PortMapId::quarantine);
constexpr auto kRejected = static_cast<std::size_t>(PortMapId::rejected);
constexpr auto kBlocked = static_cast<std::size_t>(PortMapId::blocked);
constexpr std::size_t kNoMap = kPortMaps;

// Where free ports of that word go.
std::size_t youngest_map(LaneHints& lane, std::size_t word) {
  const Parity parity = parity_of(static_cast<std::uint32_t>(word));
  return FreeRing::unpack(ring_of(lane, parity).load(std::memory_order_relaxed)).youngest;
}

// A port in two maps (a release that met a reconcile) is kept in the less claimable one.
void drop_doubles(LaneHints& lane, std::size_t word) {
  std::uint64_t seen = 0;
  for (std::size_t map = kPortMaps; map-- > 0;) {
    const std::uint64_t bits = load(lane, map, word);
    if ((bits & seen) != 0) take_bits(lane, map, word, bits & seen);
    seen |= bits;
  }
}

class WordUpdate {
 public:
  WordUpdate(LaneHints& lane, LaneRecord& record, const TruthWord& truth,
             const BlockedPorts& blocked, std::size_t word, std::uint64_t only,
             LaneChanges& changes, Claims claims = Claims::brief)
      : lane_(lane),
        record_(record),
        truth_(truth),
        word_(word),
        changes_(changes),
        range_(range_bits(record.range, word) & only),
        blocked_(blocked.bits[word] & range_),
        claims_(claims) {}

  // Nothing for run() to do: as it is with nearly all words, and ten loads tell it.
  bool is_settled() const {
    std::uint64_t mapped = 0;
    std::uint64_t doubles = 0;
    std::uint64_t released = 0;
    for (std::size_t map = 0; map < kPortMaps; ++map) {
      const std::uint64_t bits = load(lane_, map, word_);
      doubles |= bits & mapped;
      mapped |= bits;
      if (map >= kFreeMaps && map <= kQuarantine) released |= bits;
    }
    const std::uint64_t used = truth_.used & range_ & ~blocked_;
    const bool only_used =
        (truth_.waiting | truth_.reusable[0] | truth_.reusable[1] | truth_.reusable[2]) == 0;
    static_assert(kReuseMaps == 3);
    return doubles == 0 && released == 0 && only_used &&
           (load(lane_, kBlocked, word_) & range_) == blocked_ && (mapped & used) == 0 &&
           (range_ & ~mapped & ~used) == 0 && (record_.suspect.word(word_) & range_) == 0;
  }

  void run() {
    drop_doubles(lane_, word_);
    block();
    const std::uint64_t open = range_ & ~blocked_;
    const std::uint64_t used = truth_.used & open;
    changes_.withdrawn +=
        static_cast<std::uint32_t>(std::popcount(take_from_all(lane_, word_, used, kNoMap)));
    std::uint64_t seen = used;
    move(truth_.waiting & open & ~seen, kQuarantine);
    seen |= truth_.waiting;
    std::uint64_t suspects = 0;
    for (std::size_t age = 0; age < kReuseMaps; ++age) {
      const std::uint64_t bits = truth_.reusable[age] & open & ~seen;
      // A promise is kept when a socket has the port.
      const Claims claims = is_for_promises(record_.key) ? Claims::none : claims_;
      suspects |= settle(bits, kFreeMaps + age, everything_but_rejected(), claims);
      seen |= truth_.reusable[age];
    }
    suspects |= settle(open & ~seen, youngest_map(lane_, word_), truth_.released_before, claims_);
    record_.suspect.set_word(word_, (record_.suspect.word(word_) & ~range_) | suspects);
  }

 private:
  void block() {
    put_bits(lane_, kBlocked, word_, blocked_ & ~load(lane_, kBlocked, word_));
    take_from_all(lane_, word_, blocked_, kBlocked);
    // No longer blocked: in no map now, and sorted in below or at the next reconcile.
    take_bits(lane_, kBlocked, word_, range_ & ~blocked_);
  }

  std::uint64_t mapped() const {
    std::uint64_t bits = 0;
    for (std::size_t map = 0; map < kPortMaps; ++map) bits |= load(lane_, map, word_);
    return bits;
  }

  std::uint64_t everything_but_rejected() const { return ~load(lane_, kRejected, word_); }

  void move(std::uint64_t bits, std::size_t to) {
    bits &= ~load(lane_, to, word_);
    take_from_all(lane_, word_, bits, to);
    put_bits(lane_, to, word_, bits);
  }

  // Makes `bits` claimable through map `to`: those of `movable` that stand in a map that is not a
  // free one, and those in no map as far as `claims` allows it. Returns those that are so for the
  // first time, by `claims`.
  std::uint64_t settle(std::uint64_t bits, std::size_t to, std::uint64_t movable, Claims claims) {
    std::uint64_t in_free = 0;
    for (std::size_t map = 0; map < kFreeMaps; ++map) in_free |= load(lane_, map, word_);
    const bool to_free = to < kFreeMaps;
    const std::uint64_t unmapped = bits & ~mapped() & truth_.unmapped_before;
    const std::uint64_t before = unmapped & record_.suspect.word(word_);
    const std::uint64_t leaked = claims == Claims::none    ? unmapped
                                 : claims == Claims::brief ? before
                                                           : std::uint64_t{0};
    std::uint64_t freed = leaked;
    const std::uint64_t here =
        bits & movable & ~load(lane_, to, word_) & (to_free ? ~in_free : ~0ULL);
    for (std::size_t map = 0; map < kRejected; ++map) {
      if (map != to) freed |= take_bits(lane_, map, word_, here);
    }
    changes_.returned += static_cast<std::uint32_t>(std::popcount(freed));
    put_bits(lane_, to, word_, freed);
    return claims == Claims::kept ? before : unmapped & ~leaked;
  }

  LaneHints& lane_;
  LaneRecord& record_;
  const TruthWord& truth_;
  std::size_t word_;
  LaneChanges& changes_;
  std::uint64_t range_;
  std::uint64_t blocked_;
  Claims claims_;
};

bool agrees_with(const LaneHints& lane, const PortRange& range, const BlockedPorts& blocked) {
  const bool any = lane.top[kBlocked].load(std::memory_order_relaxed) != 0;
  for (std::size_t w = first_word(range); w <= last_word(range); ++w) {
    const std::uint64_t here =
        any ? lane.words[kBlocked][w].load(std::memory_order_relaxed) : std::uint64_t{0};
    if (((here ^ blocked.bits[w]) & range_bits(range, w)) != 0) return false;
  }
  return true;
}

// Every port stands in a free map, or in the blocked one if it shall, and no socket has one of
// them: such a lane is left as it is, and the maps that it has never used stay without memory. By
// what expect() saw: who has come since is for the next update.
bool is_at_rest(const LaneHints& lane, const LaneRecord& record, const LaneTruth& truth,
                const BlockedPorts& blocked) {
  return truth.words().empty() && !truth.has_doubles() && record.suspect.empty() &&
         record.rejected.empty() && lane.top[kRejected].load(std::memory_order_relaxed) == 0 &&
         agrees_with(lane, record.range, blocked);
}

// Releases join the youngest map; when that has grown large, a new youngest one is begun, so that
// the ring keeps its three ages after a burst of releases.
void keep_ages_apart(LaneHints& lane, Parity parity, const kernel::PortRange& range) {
  std::atomic<std::uint32_t>& ages = ring_of(lane, parity);
  std::uint32_t word = ages.load(std::memory_order_relaxed);
  const FreeRing ring = FreeRing::unpack(word);
  if (ring.length() >= kFreeMaps) return;
  std::uint32_t total = 0;
  std::uint32_t youngest = 0;
  for (std::uint32_t map = 0; map < kFreeMaps; ++map) {
    if (!has_any(free_map(lane, map), parity)) continue;
    std::uint32_t count = 0;
    for (std::size_t w = first_word(range) + index_of(parity); w <= last_word(range);
         w += kParities) {
      count += static_cast<std::uint32_t>(std::popcount(load(lane, map, w)));
    }
    total += count;
    if (map == ring.youngest) youngest = count;
  }
  if (youngest * 3 > total) {
    ages.compare_exchange_strong(word, ring.add_youngest().pack(), std::memory_order_relaxed);
  }
}

// The ports of the sets that `bits_of` gives for each word of the range, at most `limit`.
template <class BitsOf>
std::vector<std::uint16_t> ports_in(const kernel::PortRange& range, std::size_t limit,
                                    BitsOf bits_of) {
  std::vector<std::uint16_t> ports;
  for (std::size_t w = first_word(range); w <= last_word(range) && ports.size() < limit; ++w) {
    for (std::uint64_t bits = bits_of(w); bits != 0 && ports.size() < limit; bits &= bits - 1) {
      ports.push_back(port_at(w, static_cast<unsigned>(std::countr_zero(bits))));
    }
  }
  return ports;
}

}  // namespace

void fill_lane(LaneHints& lane, const LaneRecord& record, const LaneTruth& truth,
               const BlockedPorts& blocked) {
  std::uint64_t random = std::random_device{}();
  const auto next = [&random] { return random = detail::next_random(random); };
  for (std::size_t w = first_word(record.range); w <= last_word(record.range); ++w) {
    const TruthWord& seen = truth.word(w);
    const std::uint64_t range = range_bits(record.range, w);
    std::uint64_t left = range & ~blocked.bits[w] & ~seen.used;
    put_bits(lane, kBlocked, w, range & blocked.bits[w]);
    put_bits(lane, kQuarantine, w, left & seen.waiting);
    left &= ~seen.waiting;
    for (std::size_t age = 0; age < kReuseMaps; ++age) {
      put_bits(lane, kFreeMaps + age, w, left & seen.reusable[age]);
      left &= ~seen.reusable[age];
    }
    // Three ages at random, as they would stand after a while of use: two random bits for each port
    // tell which, or (one time in four) that it draws again.
    std::array<std::uint64_t, kFreeMaps - 1> shares{};
    static_assert(shares.size() == 3);
    while (left != 0) {
      const std::uint64_t first = next();
      const std::uint64_t second = next();
      shares[0] |= left & first & ~second;
      shares[1] |= left & ~first & second;
      shares[2] |= left & ~first & ~second;
      left &= first & second;
    }
    for (std::size_t map = 0; map < shares.size(); ++map) put_bits(lane, map, w, shares[map]);
  }
  for (std::atomic<std::uint32_t>& ages : lane.ring) {
    ages.store(FreeRing{0, kFreeMaps - 1}.pack(), std::memory_order_relaxed);
  }
}

LaneChanges update_lane(LaneHints& lane, LaneRecord& record, const LaneTruth& truth,
                        const BlockedPorts& blocked) {
  LaneChanges changes;
  if (!is_at_rest(lane, record, truth, blocked)) {
    for (std::size_t w = first_word(record.range); w <= last_word(record.range); ++w) {
      WordUpdate word(lane, record, truth.word(w), blocked, w, ~std::uint64_t{0}, changes,
                      truth.lane().claims);
      if (!word.is_settled()) word.run();
    }
    for (std::size_t map = 0; map < kPortMaps; ++map) {
      repair(port_map(lane, static_cast<PortMapId>(map)), first_word(record.range),
             last_word(record.range));
    }
  }
  drop_outside(lane, record.range);
  for (const Parity parity : {Parity::even, Parity::odd}) {
    keep_ages_apart(lane, parity, record.range);
  }
  return changes;
}

LaneChanges update_ports(LaneHints& lane, LaneRecord& record, const LaneTruth& truth,
                         const BlockedPorts& blocked, const PortBits& only) {
  LaneChanges changes;
  for (std::size_t w = first_word(record.range); w <= last_word(record.range); ++w) {
    if (only[w] != 0) WordUpdate(lane, record, truth.word(w), blocked, w, only[w], changes).run();
  }
  return changes;
}

void clear_lane(LaneHints& lane) {
  // Punches the pages out of the shared file: they read as zeros again, and cost nothing.
  if (madvise(&lane, sizeof lane, MADV_REMOVE) != 0) {
    throw std::system_error(errno, std::generic_category(), "madvise(MADV_REMOVE) on a lane");
  }
}

void drop_outside(LaneHints& lane, const kernel::PortRange& range) {
  for (std::size_t map = 0; map < kPortMaps; ++map) {
    for (std::size_t group = 0; group < kPortMidWords; ++group) {
      // By the upper level, so that words that were never used cost no memory.
      std::uint64_t words = lane.mid[map][group].load(std::memory_order_relaxed);
      for (; words != 0; words &= words - 1) {
        const std::size_t w = group * 64 + static_cast<unsigned>(std::countr_zero(words));
        const std::uint64_t outside = ~bits_within(range, w);
        if (outside != 0) take_bits(lane, map, w, outside);
      }
    }
  }
}

std::vector<std::uint16_t> quarantined_ports(LaneHints& lane, const kernel::PortRange& range,
                                             std::size_t limit) {
  return ports_in(range, limit, [&](std::size_t w) { return load(lane, kQuarantine, w); });
}

std::vector<std::uint16_t> contradicted_ports(LaneHints& lane, const LaneTruth& truth,
                                              std::size_t limit) {
  if (truth.words().empty()) return {};
  return ports_in(truth.range(), limit, [&](std::size_t w) {
    std::uint64_t claimable = 0;
    const std::uint64_t used = truth.word(w).used;
    if (used == 0) return claimable;
    for (std::size_t map = 0; map < kQuarantine; ++map) claimable |= load(lane, map, w);
    return claimable & used;
  });
}

void sweep_rejected(LaneHints& lane, LaneRecord& record) {
  if (record.rejected.empty() && lane.top[kRejected].load(std::memory_order_relaxed) == 0) return;
  for (std::size_t w = first_word(record.range); w <= last_word(record.range); ++w) {
    const std::uint64_t now = load(lane, kRejected, w);
    const std::uint64_t old = take_bits(lane, kRejected, w, now & record.rejected.word(w));
    put_bits(lane, youngest_map(lane, w), w, old);
    record.rejected.set_word(w, now & ~old);
  }
}

LaneCounts count_lane(LaneHints& lane, const PortRange& ports, CountFrom from) {
  LaneCounts counts;
  if (ports.empty()) return counts;
  counts.capacity = std::uint32_t{ports.high} - ports.low + 1;
  std::uint32_t mapped = 0;
  for (std::size_t map = 0; map < kPortMaps; ++map) {
    const bool unmarked = lane.top[map].load(std::memory_order_relaxed) == 0;
    if (from == CountFrom::marked_maps && unmarked) continue;
    std::uint32_t count = 0;
    for (std::size_t w = first_word(ports); w <= last_word(ports); ++w) {
      // Most maps are empty, and counting bits takes longer than looking for any.
      if (const std::uint64_t bits = load(lane, map, w); bits != 0) {
        count += static_cast<std::uint32_t>(std::popcount(bits & range_bits(ports, w)));
      }
    }
    mapped += count;
    if (map == kBlocked) {
      counts.blocked = count;
    } else if (map >= kQuarantine) {
      counts.quarantined += count;
    } else {
      counts.free += count;
      if (map >= kFreeMaps) counts.reusable += count;
    }
  }
  counts.in_use = mapped < counts.capacity ? counts.capacity - mapped : 0;
  return counts;
}

}  // namespace portpool
