#include "shim/lanes.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>

#include "portpool/port_map.h"
#include "shim/attach.h"
#include "shim/process.h"
#include "shim/record.h"

namespace portpool::shim {
namespace {

constexpr std::uint32_t kSlotsPerKey = 2;

void ring_doorbell(SegmentHeader& header) {
  const ErrnoKeeper keep;
  header.doorbell.fetch_add(1, std::memory_order_release);
  syscall(SYS_futex, &header.doorbell, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace

void request_lane(const SegmentView& view, const LaneKey& key) {
  const auto start = static_cast<std::uint32_t>(hash_of(key));
  for (std::uint32_t i = 0; i < kSlotsPerKey; ++i) {
    RequestSlot& slot = view.request((start + i) % view.request_count());
    auto state = static_cast<std::uint32_t>(RequestState::empty);
    if (slot.state.load(std::memory_order_relaxed) ==
            static_cast<std::uint32_t>(RequestState::ready) &&
        load_key(slot.key) == key) {
      return;
    }
    if (!slot.state.compare_exchange_strong(
            state, static_cast<std::uint32_t>(RequestState::writing), std::memory_order_acquire)) {
      continue;
    }
    store_key(slot.key, key);
    slot.state.store(static_cast<std::uint32_t>(RequestState::ready), std::memory_order_release);
    count(&view, Counter::k_lane_requests);
    ring_doorbell(view.header());
    return;
  }
}

void ask_attention(const SegmentView& view, Lane& lane) {
  if (lane.attention.load(std::memory_order_relaxed) != 0 ||
      lane.attention.exchange(1, std::memory_order_acq_rel) != 0) {
    return;
  }
  ring_doorbell(view.header());
}

void give_back(const SegmentView& view, std::uint16_t lane_index, std::uint16_t port, Release how) {
  Lane& lane = view.lane(lane_index);
  // The range may have changed since the port was claimed.
  const std::uint32_t range = lane.ports.load(std::memory_order_relaxed);
  if (port < (range & 0xFFFF) || port > range >> 16) return;
  switch (how) {
    case Release::free:
      release(lane, port);
      count(&view, Counter::k_released_free);
      break;
    case Release::quarantine:
      put_port(port_map(lane, PortMapId::quarantine), port);
      if (lane.low.load(std::memory_order_relaxed) != 0) ask_attention(view, lane);
      count(&view, Counter::k_released_quarantine);
      break;
    case Release::rejected:
      put_port(port_map(lane, PortMapId::rejected), port);
      lane.rejections.fetch_add(1, std::memory_order_relaxed);
      count(&view, Counter::k_rejections);
      break;
  }
}

void give_back(const SocketState& state, Release how) {
  const SegmentView* view = mapped_segment();
  if (!state.pinned || view == nullptr || state.epoch != attach_epoch()) return;
  give_back(*view, state.lane, state.port, how);
}

}  // namespace portpool::shim
