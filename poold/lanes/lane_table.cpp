#include "lanes/lane_table.h"

#include <algorithm>

#include "lanes/lane_update.h"

namespace portpool {
namespace {

// A place is not given to another lane while a claim of the old one may still be under way.
constexpr std::chrono::seconds kGrace{2};
constexpr std::uint64_t kIdleBeats = 10'000 / kHeartbeatMs;

}  // namespace

LaneRecord* LaneTable::find(const LaneKey& key) const {
  const auto found = by_key_.find(key);
  return found != by_key_.end() ? found->second : nullptr;
}

std::optional<std::uint32_t> LaneTable::free_place() {
  if (!graves_.empty() && Clock::now() - graves_.front().since >= kGrace) {
    const std::uint32_t index = graves_.front().index;
    graves_.pop_front();
    // A late release may have left something since the lane was retired.
    clear_lane(view_.lane(index));
    return index;
  }
  if (never_used_ == view_.lane_count()) return std::nullopt;
  view_.header().lanes_touched.store(never_used_ + 1, std::memory_order_relaxed);
  return never_used_++;
}

LaneRecord* LaneTable::add(const LaneKey& key, std::uint32_t pool, kernel::PortRange range) {
  const auto place = free_place();
  if (!place) return nullptr;
  auto record = std::make_unique<LaneRecord>();
  record->key = key;
  record->index = *place;
  Lane& lane = view_.lane(record->index);
  store_key(lane.key, key);
  lane.last_used_beat.store(view_.header().heartbeat.load(std::memory_order_relaxed),
                            std::memory_order_relaxed);
  record->range = range;
  set_range(*record, pool, range);
  records_.push_back(std::move(record));
  by_key_[key] = records_.back().get();
  return records_.back().get();
}

void LaneTable::set_range(LaneRecord& record, std::uint32_t pool, kernel::PortRange range) {
  Lane& lane = view_.lane(record.index);
  if (record.range != range) {
    drop_outside(lane, range);
    // No client can have claimed what was not in the range: once seen to be unused is enough.
    for (std::uint32_t port = range.low; port <= range.high; ++port) {
      if (port < record.range.low || port > record.range.high) {
        record.suspect[port / 64] |= std::uint64_t{1} << (port % 64);
      }
    }
  }
  record.pool = pool;
  record.range = range;
  lane.pool.store(pool, std::memory_order_relaxed);
  lane.ports.store(std::uint32_t{range.high} << 16 | range.low, std::memory_order_relaxed);
}

std::uint64_t LaneTable::beats_unused(const LaneRecord& record) const {
  const std::uint64_t now = view_.header().heartbeat.load(std::memory_order_relaxed);
  const std::uint64_t used =
      view_.lane(record.index).last_used_beat.load(std::memory_order_relaxed);
  return used < now ? now - used : 0;
}

bool LaneTable::is_idle(const LaneRecord& record) const {
  return beats_unused(record) > kIdleBeats;
}

std::size_t LaneTable::retire_idle() {
  const std::size_t room = view_.lane_count() - records_.size();
  const std::size_t wanted = std::max<std::size_t>(view_.lane_count() / 8, 1);
  if (room >= wanted) return 0;
  std::vector<std::pair<std::uint64_t, LaneKey>> idle;
  for (const auto& record : records_) {
    if (is_idle(*record) && count_lane(view_.lane(record->index)).in_use == 0) {
      idle.emplace_back(beats_unused(*record), record->key);
    }
  }
  std::sort(idle.begin(), idle.end(),
            [](const auto& a, const auto& b) { return a.first > b.first; });
  idle.resize(std::min(idle.size(), wanted - room));
  for (const auto& [unused, key] : idle) {
    const auto position = std::find_if(
        records_.begin(), records_.end(),
        [&, wanted_key = key](const auto& record) { return record->key == wanted_key; });
    retire(static_cast<std::size_t>(position - records_.begin()));
  }
  return idle.size();
}

void LaneTable::retire(std::size_t position) {
  const std::uint32_t index = records_[position]->index;
  std::vector<std::uint32_t> places;
  for (const auto& [place, entry] : entries_) {
    if (std::find(entry.lanes.begin(), entry.lanes.end(), index) != entry.lanes.end()) {
      places.push_back(place);
    }
  }
  for (const std::uint32_t place : places) clear_entry(place);
  view_.lane(index).live.store(0, std::memory_order_release);
  clear_lane(view_.lane(index));
  graves_.push_back({index, Clock::now()});
  by_key_.erase(records_[position]->key);
  records_.erase(records_.begin() + static_cast<std::ptrdiff_t>(position));
}

bool LaneTable::publish(const LaneKey& question, const std::vector<const LaneRecord*>& lanes,
                        std::uint32_t flags) {
  const std::uint32_t start = view_.directory_start(hash_of(question));
  std::optional<std::uint32_t> place;
  for (std::uint32_t probe = 0; probe < kDirectoryProbes; ++probe) {
    const std::uint32_t i = (start + probe) % view_.directory_size();
    const auto taken = entries_.find(i);
    if (taken != entries_.end() && taken->second.question == question) {
      place = i;
      break;
    }
    if (taken == entries_.end() && !place) place = i;
  }
  if (!place) return false;
  LaneChoice choice;
  choice.flags = lanes.empty() ? EntryFlags::refused : flags;
  Answer entry{question, {}};
  for (const LaneRecord* record : lanes) {
    if (choice.count == kLanesPerEntry) break;
    choice.lanes[choice.count++] = static_cast<std::uint16_t>(record->index);
    entry.lanes.push_back(record->index);
  }
  entries_[*place] = std::move(entry);
  write_entry(view_.directory_entry(*place), question, choice);
  for (const LaneRecord* record : lanes) {
    view_.lane(record->index).live.store(1, std::memory_order_release);
  }
  return true;
}

void LaneTable::clear_entry(std::uint32_t place) {
  write_entry(view_.directory_entry(place), entries_.at(place).question, LaneChoice{});
  entries_.erase(place);
}

void LaneTable::withdraw(const LaneKey& question) {
  for (const auto& [place, entry] : entries_) {
    if (entry.question == question) return clear_entry(place);
  }
}

void LaneTable::withdraw_all() {
  while (!entries_.empty()) clear_entry(entries_.begin()->first);
}

std::vector<LaneTable::Answer> LaneTable::next_answers(std::size_t count) {
  std::vector<Answer> result;
  auto next = entries_.lower_bound(answers_from_);
  for (count = std::min(count, entries_.size()); count > 0; --count, ++next) {
    if (next == entries_.end()) next = entries_.begin();
    result.push_back(next->second);
  }
  answers_from_ = next != entries_.end() ? next->first : 0;
  return result;
}

}  // namespace portpool
