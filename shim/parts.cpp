// Memory order: a part's address is stored (release, or stronger) after it was mapped. Address and
// epoch are sequentially consistent: of a thread that stores an address and one that renews, at
// least one sees the other.
#include "shim/parts.h"

#include <sys/auxv.h>

#include "shim/process.h"

namespace portpool::shim {
namespace {

// Stands for every lane that cannot be mapped. Takes no memory until then. In a section of its own,
// and aligned when it is used: what is written at each start shares a page, which a variable of
// such an alignment among them would end.
__attribute__((
    section(".bss.spare"))) unsigned char spare_room[sizeof(LaneHints) + alignof(LaneHints)];

LaneHints* spare_lane() {
  const auto at = reinterpret_cast<std::uintptr_t>(spare_room);
  return reinterpret_cast<LaneHints*>((at + alignof(LaneHints) - 1) / alignof(LaneHints) *
                                      alignof(LaneHints));
}

}  // namespace

bool Parts::start(const SegmentView& view, const Mapping& whole) {
  const std::uint32_t lanes = view.lane_count();
  void* memory = map_memory((lanes + 1) * sizeof(std::atomic<void*>), PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1);
  if (memory == MAP_FAILED) return false;
  whole_ = whole;
  count_ = lanes + 1;
  page_ = getauxval(AT_PAGESZ);
  lanes_offset_ = view.lanes_offset();
  trace_ = view.trace_section();
  at = static_cast<std::atomic<void*>*>(memory);
  map = &map_now;
  spare = spare_lane();
  return true;
}

Parts::Extent Parts::extent_of(std::uint32_t part) const {
  const bool is_trace = part + 1 == count_;
  const std::uint64_t begin =
      is_trace ? trace_.offset : lanes_offset_ + std::uint64_t{part} * sizeof(LaneHints);
  const std::uint64_t end =
      begin + (is_trace ? std::uint64_t{trace_.count} * trace_.stride : sizeof(LaneHints));
  const std::uint64_t first = begin / page_ * page_;
  const std::uint64_t behind = (end + page_ - 1) / page_ * page_;
  return {static_cast<std::size_t>(first), static_cast<std::size_t>(behind - first),
          static_cast<std::size_t>(begin - first)};
}

bool Parts::map_at(std::uint32_t part, Mapping& out) const {
  const Extent extent = extent_of(part);
  out.size = extent.size;
  return out.map_part(whole_, extent.offset);
}

__attribute__((noinline, cold)) void* Parts::map_now(const HintsParts& self, std::uint32_t part) {
  const ErrnoKeeper keep;
  const auto& parts = static_cast<const Parts&>(self);
  std::uint32_t epoch = parts.epoch_.load(std::memory_order_seq_cst);
  Mapping mine;
  if (!parts.map_at(part, mine)) return nullptr;
  void* const here = static_cast<unsigned char*>(mine.base) + parts.extent_of(part).inside;
  void* there = nullptr;
  // Of two that map the same part at once, one gives its own back.
  if (!parts.at[part].compare_exchange_strong(there, here, std::memory_order_seq_cst)) {
    mine.unmap();
    return there;
  }
  for (std::uint32_t now; (now = parts.epoch_.load(std::memory_order_seq_cst)) != epoch;) {
    epoch = now;
    parts.replace(part);
  }
  return here;
}

void Parts::replace(std::uint32_t part) const {
  auto* there = static_cast<unsigned char*>(at[part].load(std::memory_order_seq_cst));
  if (there == nullptr) return;
  const Extent extent = extent_of(part);
  Mapping fresh;
  if (map_at(part, fresh) && fresh.move_over({there - extent.inside, extent.size})) return;
  // Others may be using the old one, which stays where it is; nobody finds it any more.
  fresh.unmap();
  at[part].store(nullptr, std::memory_order_seq_cst);
}

void Parts::renew() {
  epoch_.fetch_add(1, std::memory_order_seq_cst);
  for (std::uint32_t part = 0; part < count_; ++part) replace(part);
}

void Parts::unlock_all() const {
  for (std::uint32_t part = 0; part < count_; ++part) {
    auto* there = static_cast<unsigned char*>(at[part].load(std::memory_order_relaxed));
    if (there == nullptr) continue;
    const Extent extent = extent_of(part);
    unlock(there - extent.inside, extent.size);
  }
}

}  // namespace portpool::shim
