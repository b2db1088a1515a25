#include "shim/lanes.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>

#include "portpool/first_calls.h"
#include "portpool/lane.h"
#include "portpool/system_call.h"
#include "shim/attach.h"
#include "shim/process.h"
#include "shim/record.h"

namespace portpool::shim {
namespace {

constexpr std::uint32_t kSlotsPerKey = 2;

void ring_doorbell(HintsHeader& hints) {
  const ErrnoKeeper keep;
  hints.doorbell.fetch_add(1, std::memory_order_release);
  system_call(SYS_futex, &hints.doorbell, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace

void request_lane(const SegmentView& view, const LaneKey& key) {
  if (!came_lately(view, key)) return;
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
    ring_doorbell(view.hints());
    return;
  }
}

void mark_used(const SegmentView& view, LaneHints& lane) {
  const std::uint64_t beat = view.header().heartbeat.load(std::memory_order_relaxed);
  if (lane.last_used_beat.load(std::memory_order_relaxed) != beat) {
    lane.last_used_beat.store(beat, std::memory_order_relaxed);
  }
}

void count_connect(LaneHints& lane, std::uint64_t random) {
  if (random % kConnectsPerCount != 0) return;
  lane.connects.fetch_add(kConnectsPerCount, std::memory_order_relaxed);
}

void ask_attention(const SegmentView& view, LaneRef ref) {
  LaneHints& lane = view.lane_hints(ref.index);
  if (lane.attention.load(std::memory_order_relaxed) != 0 ||
      lane.attention.exchange(1, std::memory_order_acq_rel) != 0) {
    return;
  }
  ring_doorbell(view.hints());
}

void give_back(const SegmentView& view, LaneRef ref, std::uint16_t port, Release how) {
  if (!in_service(view, ref)) return;
  const LaneInfo& info = view.lane_info(ref.index);
  // The range may have changed since the port was claimed.
  if (!PortRange::unpack(info.ports.load(std::memory_order_relaxed)).contains(port)) return;
  LaneHints& lane = view.lane_hints(ref.index);
  switch (how) {
    case Release::free:
      release(lane, port);
      count(&view, Counter::k_released_free);
      break;
    case Release::quarantine:
      put_port(port_map(lane, PortMapId::quarantine), port);
      if (info.low.load(std::memory_order_relaxed) != 0) ask_attention(view, ref);
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
  if (!state.holds_port() || view == nullptr) return;
  give_back(*view, state.lane_ref(), state.port, how);
}

}  // namespace portpool::shim
