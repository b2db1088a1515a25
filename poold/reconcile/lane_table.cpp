#include "reconcile/lane_table.h"

namespace portpool {

LaneRecord* LaneTable::find(const LaneKey& key) {
  const auto found = by_key_.find(key);
  return found != by_key_.end() ? found->second : nullptr;
}

LaneRecord* LaneTable::add(const LaneKey& key, std::uint32_t pool, kernel::PortRange range) {
  if (full()) return nullptr;
  auto record = std::make_unique<LaneRecord>();
  record->key = key;
  record->index = static_cast<std::uint32_t>(records_.size());
  record->pool = pool;
  record->range = range;
  Lane& lane = view_.lane(record->index);
  store_key(lane.key, key);
  lane.pool.store(pool, std::memory_order_relaxed);
  lane.ports.store(std::uint32_t{range.high} << 16 | range.low, std::memory_order_relaxed);
  lane.live.store(1, std::memory_order_release);
  records_.push_back(std::move(record));
  by_key_[key] = records_.back().get();
  return records_.back().get();
}

bool LaneTable::publish(const LaneKey& question, const std::vector<const LaneRecord*>& lanes) {
  const auto start = static_cast<std::uint32_t>(hash_of(question) % view_.directory_size());
  std::optional<std::uint32_t> place;
  for (std::uint32_t probe = 0; probe < kDirectoryProbes; ++probe) {
    const std::uint32_t i = (start + probe) % view_.directory_size();
    const auto taken = entries_.find(i);
    if (taken != entries_.end() && taken->second == question) {
      place = i;
      break;
    }
    if (taken == entries_.end() && !place) place = i;
  }
  if (!place) return false;
  LaneChoice choice;
  choice.flags = lanes.empty() ? EntryFlags::refused : 0;
  for (const LaneRecord* record : lanes) {
    if (choice.count == kLanesPerEntry) break;
    choice.lanes[choice.count++] = static_cast<std::uint16_t>(record->index);
  }
  entries_[*place] = question;
  write_entry(view_.directory_entry(*place), question, choice);
  return true;
}

}  // namespace portpool
