#include "lanes/lane_table.h"

#include <algorithm>

#include "lanes/lane_update.h"
#include "portpool/crash_point.h"

namespace portpool {

LaneTable::LaneTable(const StructureWriter& structure)
    : structure_(structure),
      // Random with each poold, so that what is left of an earlier one means no lane of ours.
      generations_(structure.view().lane_count(),
                   static_cast<std::uint32_t>(structure.header().generation)),
      records_(structure.view().lane_count()) {}

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

LaneRecord* LaneTable::find(LaneRef ref) const {
  if (ref.index >= records_.size()) return nullptr;
  LaneRecord* record = records_[ref.index].get();
  return record != nullptr && record->ref == ref ? record : nullptr;
}

// A place is not given to another lane while a claim of the old one may still be under way. For
// good measure only: a claim looks at the generation when it has its port, and puts it back if that
// is another one by now; a release looks first. Who is stopped between that look and the release
// for longer than the grace leaves one wrong hint.
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
  PORTPOOL_CRASH_POINT(in_lane);
  lane.low.store(0, std::memory_order_relaxed);
  lane.full.store(0, std::memory_order_relaxed);
  lane.crowding.store(0, std::memory_order_relaxed);
  set_range(*record, pool, range);
  by_key_[key] = record.get();
  records_[*place] = std::move(record);
  return records_[*place].get();
}

void LaneTable::set_range(LaneRecord& record, std::uint32_t pool, kernel::PortRange range) {
  if (record.range != range) {
    drop_outside(hints(record), range);
    // No client can have claimed what was not in the range: once seen to be unused is enough.
    for (std::size_t w = first_word(range); w <= last_word(range); ++w) {
      const std::uint64_t added = range_bits(range, w) & ~bits_within(record.range, w);
      if (added != 0) record.suspect.set_word(w, record.suspect.word(w) | added);
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

void LaneTable::retire(const LaneRecord& record) {
  const LaneRef ref = record.ref;
  // clear_entry() takes each out of the record's list.
  while (!record.entries.empty()) clear_entry(record.entries.back());
  // First: who claims a port from now on learns that the lane is gone.
  structure_.lane_info(ref.index).generation.store(0, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  clear_lane(structure_.view().lane_hints(ref.index));
  graves_.push_back({ref.index, Clock::now()});
  by_key_.erase(record.key);
  records_[ref.index].reset();
}

void LaneTable::link(std::uint32_t place, const Answer& entry, bool on) {
  for (const LaneRef ref : entry.lanes) {
    LaneRecord* record = find(ref);
    if (record == nullptr) continue;
    std::erase(record->entries, place);
    if (on) record->entries.push_back(place);
  }
}

bool LaneTable::publish(const LaneKey& question, const std::vector<const LaneRecord*>& lanes,
                        std::uint32_t flags) {
  const SegmentView& view = structure_.view();
  const std::uint32_t start = view.directory_start(hash_of(question));
  std::optional<std::uint32_t> place;
  std::optional<std::uint32_t> refusal;
  for (std::uint32_t probe = 0; probe < kDirectoryProbes; ++probe) {
    const std::uint32_t i = (start + probe) % view.directory_size();
    const auto taken = entries_.find(i);
    if (taken != entries_.end() && taken->second.question == question) {
      place = i;
      break;
    }
    if (taken == entries_.end() && !place) place = i;
    if (taken != entries_.end() && taken->second.lanes.empty() && !refusal) refusal = i;
  }
  // A refusal saves its program a question; where room is short, lanes come first.
  if (!place) place = refusal;
  if (!place) return false;
  LaneChoice choice;
  choice.flags = lanes.empty() ? EntryFlags::refused | flags : flags;
  Answer entry{question, {}};
  for (const LaneRecord* record : lanes) {
    if (choice.count == kLanesPerEntry) break;
    choice.lanes[choice.count++] = record->ref;
    entry.lanes.push_back(record->ref);
  }
  Answer& kept = entries_[*place];
  link(*place, kept, false);
  kept = std::move(entry);
  link(*place, kept, true);
  structure_.write_entry(*place, question, choice);
  return true;
}

void LaneTable::clear_entry(std::uint32_t place) {
  const auto entry = entries_.find(place);
  link(place, entry->second, false);
  structure_.write_entry(place, entry->second.question, LaneChoice{});
  entries_.erase(entry);
}

std::vector<LaneKey> LaneTable::questions_to(const LaneRecord& record) const {
  std::vector<LaneKey> questions;
  for (const std::uint32_t place : record.entries) {
    questions.push_back(entries_.at(place).question);
  }
  return questions;
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

std::uint32_t LaneTable::withdraw_some(std::uint32_t from, std::size_t count) {
  auto next = entries_.lower_bound(from);
  for (; next != entries_.end() && count > 0; --count) clear_entry((next++)->first);
  return next != entries_.end() ? next->first : 0;
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

std::vector<const LaneRecord*> LaneTable::fullest(std::size_t most) const {
  std::vector<const LaneRecord*> found;
  for (std::uint32_t place = 0; place < never_used_; ++place) {
    const LaneRecord* record = records_[place].get();
    if (record != nullptr && record->filled && !is_for_promises(record->key)) {
      found.push_back(record);
    }
  }
  const std::size_t count = std::min(most, found.size());
  std::partial_sort(found.begin(), found.begin() + static_cast<std::ptrdiff_t>(count), found.end(),
                    [](const LaneRecord* a, const LaneRecord* b) {
                      return std::uint64_t{a->free} * b->range.size() <
                             std::uint64_t{b->free} * a->range.size();
                    });
  found.resize(count);
  return found;
}

}  // namespace portpool
