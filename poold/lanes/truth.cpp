#include "lanes/truth.h"

#include <netinet/tcp.h>

#include "portpool/port_map.h"

namespace portpool {
namespace {

// Ages from which on a reusable TIME_WAIT counts as older; reuse map 0 is the oldest.
constexpr std::uint32_t kOldMs = 20'000;
constexpr std::uint32_t kMiddleMs = 5'000;

void set(PortBits& bits, std::uint16_t port) { bits[port / 64] |= detail::bit_of(port); }

std::uint64_t word_of(LaneHints& lane, PortMapId id, std::size_t word) {
  return lane.words[static_cast<std::size_t>(id)][word].load(std::memory_order_relaxed);
}

void add_ranges(BlockedPorts& blocked, const std::vector<kernel::PortRange>& ranges) {
  for (const kernel::PortRange& range : ranges) {
    for (std::uint32_t port = range.low; port <= range.high; ++port) {
      set(blocked.bits, static_cast<std::uint16_t>(port));
    }
  }
}

}  // namespace

void TruthCollector::begin(const kernel::TimeWaitReuse& reuse) {
  reuse_ = reuse;
  for (auto& [key, truth] : lanes_) spares_.push_back(std::move(truth));
  lanes_.clear();
}

std::unique_ptr<LaneTruth> TruthCollector::spare() {
  if (spares_.empty()) return std::make_unique<LaneTruth>();
  std::unique_ptr<LaneTruth> truth = std::move(spares_.back());
  spares_.pop_back();
  for (std::size_t w = truth->range.low / 64U; w <= truth->range.high / 64U; ++w) {
    truth->used[w] = truth->waiting[w] = 0;
    for (auto& bits : truth->reusable) bits[w] = 0;
  }
  return truth;
}

void TruthCollector::expect(const LaneRecord& record, LaneHints& lane) {
  auto truth = spare();
  truth->range = record.range;
  for (std::size_t w = record.range.low / 64U; w <= record.range.high / 64U; ++w) {
    std::uint64_t mapped = 0;
    for (std::size_t map = 0; map < kPortMaps; ++map) {
      mapped |= word_of(lane, static_cast<PortMapId>(map), w);
    }
    std::uint64_t released = word_of(lane, PortMapId::quarantine, w);
    for (std::uint32_t age = 0; age < kReuseMaps; ++age) {
      released |= word_of(lane, static_cast<PortMapId>(kFreeMaps + age), w);
    }
    truth->released_before[w] = released;
    truth->unmapped_before[w] = ~mapped;
  }
  lanes_[record.key] = std::move(truth);
}

void TruthCollector::add(const kernel::SocketRecord& socket) {
  const auto found = lanes_.find({socket.local.address, socket.remote.address, socket.remote.port});
  if (found == lanes_.end()) return;
  LaneTruth& truth = *found->second;
  if (socket.local.port < truth.range.low || socket.local.port > truth.range.high) return;
  if (socket.timer_ms == 0) {
    set(truth.used, socket.local.port);
  } else if (!reuse_.allows(socket)) {
    set(truth.waiting, socket.local.port);
  } else {
    const std::uint32_t age = kernel::kTimeWaitMs - socket.timer_ms;
    set(truth.reusable[age >= kOldMs ? 0 : age >= kMiddleMs ? 1 : 2], socket.local.port);
  }
}

void TruthCollector::forget(const LaneKey& key, std::uint16_t port) {
  const auto found = lanes_.find(key);
  if (found == lanes_.end()) return;
  LaneTruth& truth = *found->second;
  const std::uint64_t others = ~detail::bit_of(port);
  truth.used[port / 64] &= others;
  truth.waiting[port / 64] &= others;
  for (auto& bits : truth.reusable) bits[port / 64] &= others;
}

const LaneTruth* TruthCollector::find(const LaneKey& key) const {
  const auto found = lanes_.find(key);
  return found != lanes_.end() ? found->second.get() : nullptr;
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
