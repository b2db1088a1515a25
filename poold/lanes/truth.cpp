#include "lanes/truth.h"

#include <netinet/tcp.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "portpool/port_map.h"

namespace portpool {
namespace {

// Ages from which on a reusable TIME_WAIT counts as older; reuse map 0 is the oldest.
constexpr std::uint32_t kOldMs = 20'000;
constexpr std::uint32_t kMiddleMs = 5'000;

void set(PortBits& bits, std::uint16_t port) { bits[word_of_port(port)] |= bit_of_port(port); }

constexpr TruthWord kNothing;

constexpr bool is_released(std::size_t map) {
  return map >= kFreeMaps && map <= static_cast<std::size_t>(PortMapId::quarantine);
}

void add_ranges(BlockedPorts& blocked, const std::vector<kernel::PortRange>& ranges) {
  for (const kernel::PortRange& range : ranges) {
    for (std::uint32_t port = range.low; port <= range.high; ++port) {
      set(blocked.bits, static_cast<std::uint16_t>(port));
    }
  }
}

}  // namespace

const TruthWord& LaneTruth::word(std::size_t index) const {
  const std::size_t i = index - first();
  return i < places_.size() && places_[i] != 0 ? words_[places_[i] - 1U] : kNothing;
}

TruthWord& LaneTruth::word_to_write(std::size_t index) {
  if (places_.empty()) places_.resize(last_word(lane_.range) - first() + 1);
  std::uint16_t& place = places_[index - first()];
  if (place == 0) {
    words_.emplace_back().index = static_cast<std::uint16_t>(index);
    place = static_cast<std::uint16_t>(words_.size());
  }
  return words_[place - 1U];
}

void TruthCollector::begin(const kernel::TimeWaitReuse& reuse) {
  reuse_ = reuse;
  expects_promises_ = false;
  lanes_.clear();
  by_key_.clear();
  std::fill(std::begin(taken_), std::end(taken_), 0);
}

void TruthCollector::expect(const ExpectedLane& expected, LaneHints& lane) {
  LaneTruth truth(expected);
  std::size_t marked[kPortMaps];
  std::size_t count = 0;
  for (std::size_t map = 0; map < kPortMaps; ++map) {
    // The others are empty, and may never have been used: they are to cost no memory.
    if (lane.top[map].load(std::memory_order_acquire) != 0) marked[count++] = map;
  }
  const PortRange& range = expected.range;
  for (std::size_t w = first_word(range); w <= last_word(range); ++w) {
    std::uint64_t mapped = 0;
    std::uint64_t released = 0;
    std::uint64_t doubles = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint64_t bits = lane.words[marked[i]][w].load(std::memory_order_relaxed);
      doubles |= mapped & bits;
      mapped |= bits;
      if (is_released(marked[i])) released |= bits;
    }
    const std::uint64_t unmapped = range_bits(range, w) & ~mapped;
    if (doubles != 0) truth.note_doubles();
    if ((released | unmapped) == 0) continue;
    TruthWord& word = truth.word_to_write(w);
    word.released_before = released;
    word.unmapped_before = unmapped;
  }
  expects_promises_ |= is_for_promises(expected.key);
  by_key_[expected.key] = static_cast<std::uint32_t>(lanes_.size());
  lanes_.push_back(std::move(truth));
}

LaneTruth* TruthCollector::find_to_write(const LaneKey& key) {
  const auto found = by_key_.find(key);
  return found != by_key_.end() ? &lanes_[found->second] : nullptr;
}

const LaneTruth* TruthCollector::find(const LaneKey& key) const {
  const auto found = by_key_.find(key);
  return found != by_key_.end() ? &lanes_[found->second] : nullptr;
}

void TruthCollector::note_use(const Address& source, std::uint16_t port) {
  LaneTruth* truth = find_to_write(promises_of(source));
  if (truth == nullptr || !truth->range().contains(port)) return;
  const std::uint64_t bit = bit_of_port(port);
  std::uint64_t(&users)[kReuseMaps] = truth->word_to_write(word_of_port(port)).reusable;
  std::size_t more = 0;
  for (std::size_t i = 0; i + 1 < kReuseMaps; ++i) {
    if ((users[i] & bit) != 0) more = i + 1;
  }
  if ((users[kReuseMaps - 1] & bit) != 0) return;
  for (std::uint64_t& bits : users) bits &= ~bit;
  users[more] |= bit;
}

// A socket that is bound to the wildcard address of IPv6 may meet those of IPv4 (ipv6(7)).
void TruthCollector::note_use(const Endpoint& local) {
  if (!is_unspecified(local.address)) note_use(local.address, local.port);
  if (is_v4(local.address)) note_use(address_from_v4({INADDR_ANY}), local.port);
  note_use(Address{}, local.port);
}

void TruthCollector::add(const kernel::SocketRecord& socket) {
  if (expects_promises_) note_use(socket.local);
  if (socket.remote.port == 0) return;
  const std::uint16_t port = socket.local.port;
  LaneTruth* truth =
      find_to_write({socket.local.address, socket.remote.address, socket.remote.port});
  if (truth == nullptr || !truth->range().contains(port)) return;
  const std::uint64_t bit = bit_of_port(port);
  TruthWord& word = truth->word_to_write(word_of_port(port));
  taken_[word_of_port(port)] |= bit;
  if (socket.timer_ms == 0) {
    word.used |= bit;
  } else if (!reuse_.allows(socket)) {
    word.waiting |= bit;
  } else {
    const std::uint32_t age = kernel::kTimeWaitMs - socket.timer_ms;
    word.reusable[age >= kOldMs ? 0 : age >= kMiddleMs ? 1 : 2] |= bit;
  }
}

void TruthCollector::forget(const LaneKey& key, std::uint16_t port) {
  LaneTruth* truth = find_to_write(key);
  if (truth == nullptr || !truth->range().contains(port)) return;
  TruthWord& word = truth->word_to_write(word_of_port(port));
  const std::uint64_t others = ~bit_of_port(port);
  word.used &= others;
  word.waiting &= others;
  for (std::uint64_t& bits : word.reusable) bits &= others;
}

bool collect_blocked(kernel::SockDiag& sock_diag, bool reserved_too, BlockedPorts& blocked) {
  BlockedPorts fresh;
  if (reserved_too) {
    const auto reserved = kernel::reserved_ports();
    if (!reserved.is_known()) return false;
    if (reserved) add_ranges(fresh, *reserved);
  }
  kernel::DumpFilter filter;
  filter.states = kernel::state_bit(TCP_LISTEN) | kernel::state_bit(kernel::kTcpBoundInactive);
  const auto visit = [&](const kernel::SocketRecord& socket) {
    set(fresh.bits, socket.local.port);
  };
  const bool complete = sock_diag.dump(filter, visit).complete;
  if (complete) blocked = fresh;
  return complete;
}

}  // namespace portpool
