#include "lanes/lane_table.h"

#include <algorithm>

#include "lanes/lane_update.h"

namespace portpool {
namespace {

// A place is not given to another lane while a claim of the old one may still be under way.
constexpr std::chrono::seconds kGrace{2};
constexpr std::uint64_t kIdleBeats = 10'000 / kHeartbeatMs;

}  // namespace

LaneTable::LaneTable(const StructureWriter& structure)
    : structure_(structure),
      // Random with each poold, so that what is left of an earlier one means no lane of ours.
      generations_(structure.view().lane_count(),
                   static_cast<std::uint32_t>(structure.header().generation)) {}

std::uint32_t LaneTable::next_generation(std::uint32_t place) {
  std::uint32_t& generation = generations_[place];
  generation = (generation + 1) % LaneRef::kGenerations;
  if (generation == 0) generation = 1;
  return generation;
}

LaneRecord* LaneTable::find(const LaneKey& key) const {
  const auto found = by_key_.find(key);
  return found != by_key_.end() ? found->second : nullptr;
}

std::optional<std::uint32_t> LaneTable::free_place() {
  if (!graves_.empty() && Clock::now() - graves_.front().since >= kGrace) {
    const std::uint32_t index = graves_.front().index;
    graves_.pop_front();
    // A late release may have left something since the lane was retired.
    clear_lane(structure_.view().lane_hints(index));
    return index;
  }
  if (never_used_ == structure_.view().lane_count()) return std::nullopt;
  structure_.header().lanes_touched.store(never_used_ + 1, std::memory_order_relaxed);
  return never_used_++;
}

LaneRecord* LaneTable::add(const LaneKey& key, std::uint32_t pool, kernel::PortRange range) {
  const auto place = free_place();
  if (!place) return nullptr;
  auto record = std::make_unique<LaneRecord>();
  record->key = key;
  record->ref = {*place, next_generation(*place)};
  hints(*record).last_used_beat.store(structure_.header().heartbeat.load(std::memory_order_relaxed),
                                      std::memory_order_relaxed);
  record->range = range;
  LaneInfo& lane = info(*record);
  store_key(lane.key, key);
  lane.low.store(0, std::memory_order_relaxed);
  lane.full.store(0, std::memory_order_relaxed);
  lane.crowded.store(0, std::memory_order_relaxed);
  set_range(*record, pool, range);
  records_.push_back(std::move(record));
  by_key_[key] = records_.back().get();
  return records_.back().get();
}

void LaneTable::set_range(LaneRecord& record, std::uint32_t pool, kernel::PortRange range) {
  if (record.range != range) {
    drop_outside(hints(record), range);
    // No client can have claimed what was not in the range: once seen to be unused is enough.
    for (std::uint32_t port = range.low; port <= range.high; ++port) {
      if (port < record.range.low || port > record.range.high) {
        record.suspect[port / 64] |= std::uint64_t{1} << (port % 64);
      }
    }
  }
  record.pool = pool;
  record.range = range;
  info(record).pool.store(pool, std::memory_order_relaxed);
  info(record).ports.store(range.pack(), std::memory_order_relaxed);
  info(record).generation.store(record.ref.generation, std::memory_order_release);
}

void LaneTable::suspend(const LaneRecord& record) {
  info(record).generation.store(0, std::memory_order_relaxed);
}

bool LaneTable::is_suspended(const LaneRecord& record) const {
  return info(record).generation.load(std::memory_order_relaxed) == 0;
}

std::uint64_t LaneTable::beats_unused(const LaneRecord& record) const {
  const std::uint64_t now = structure_.header().heartbeat.load(std::memory_order_relaxed);
  std::atomic<std::uint64_t>& last = hints(record).last_used_beat;
  const std::uint64_t used = last.load(std::memory_order_relaxed);
  if (used <= now) return now - used;
  // Nobody has used it in the time to come: whoever wrote that, the lane's rest begins now.
  last.store(now, std::memory_order_relaxed);
  return 0;
}

bool LaneTable::is_idle(const LaneRecord& record) const {
  return beats_unused(record) > kIdleBeats;
}

std::size_t LaneTable::retire_idle() {
  const std::size_t places = structure_.view().lane_count();
  const std::size_t room = places - records_.size();
  const std::size_t wanted = std::max<std::size_t>(places / 8, 1);
  if (room >= wanted) return 0;
  std::vector<std::pair<std::uint64_t, LaneKey>> idle;
  for (const auto& record : records_) {
    if (is_idle(*record) && count_lane(hints(*record), record->range).in_use == 0) {
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
  const LaneRef ref = records_[position]->ref;
  std::vector<std::uint32_t> places;
  for (const auto& [place, entry] : entries_) {
    if (std::find(entry.lanes.begin(), entry.lanes.end(), ref) != entry.lanes.end()) {
      places.push_back(place);
    }
  }
  for (const std::uint32_t place : places) clear_entry(place);
  // First: who claims a port from now on learns that the lane is gone.
  structure_.lane_info(ref.index).generation.store(0, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  clear_lane(structure_.view().lane_hints(ref.index));
  graves_.push_back({ref.index, Clock::now()});
  by_key_.erase(records_[position]->key);
  records_.erase(records_.begin() + static_cast<std::ptrdiff_t>(position));
}

bool LaneTable::publish(const LaneKey& question, const std::vector<const LaneRecord*>& lanes,
                        std::uint32_t flags) {
  const SegmentView& view = structure_.view();
  const std::uint32_t start = view.directory_start(hash_of(question));
  std::optional<std::uint32_t> place;
  for (std::uint32_t probe = 0; probe < kDirectoryProbes; ++probe) {
    const std::uint32_t i = (start + probe) % view.directory_size();
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
    choice.lanes[choice.count++] = record->ref;
    entry.lanes.push_back(record->ref);
  }
  entries_[*place] = std::move(entry);
  structure_.write_entry(*place, question, choice);
  return true;
}

void LaneTable::clear_entry(std::uint32_t place) {
  structure_.write_entry(place, entries_.at(place).question, LaneChoice{});
  entries_.erase(place);
}

void LaneTable::withdraw(const LaneKey& question) {
  const SegmentView& view = structure_.view();
  const std::uint32_t start = view.directory_start(hash_of(question));
  for (std::uint32_t probe = 0; probe < kDirectoryProbes; ++probe) {
    const std::uint32_t place = (start + probe) % view.directory_size();
    const auto found = entries_.find(place);
    if (found != entries_.end() && found->second.question == question) return clear_entry(place);
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
