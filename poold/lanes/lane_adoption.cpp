// A table that begins with what an earlier poold has left in the segment.
#include <sys/random.h>

#include <algorithm>

#include "lanes/lane_table.h"
#include "portpool/lane.h"

namespace portpool {
namespace {

bool is_key_of_lane(const LaneKey& key) {
  if (is_for_promises(key)) return true;
  return key.destination_port != 0 && !is_unspecified(key.source) &&
         !is_unspecified(key.destination) && is_v4(key.source) == is_v4(key.destination);
}

std::uint32_t random_number() {
  std::uint32_t number = 0;
  (void)!getrandom(&number, sizeof number, 0);
  return number;
}

}  // namespace

std::vector<LaneTable::AdoptedAnswer> LaneTable::adopt() {
  by_key_.clear();
  for (auto& record : records_) record.reset();
  entries_.clear();
  graves_.clear();
  answers_from_ = 0;
  // Nobody knows how often a place was used that is out of service now: another random number, as
  // with a new segment.
  std::fill(generations_.begin(), generations_.end(), random_number());
  const SegmentView& view = structure_.view();
  never_used_ =
      std::min(view.header().lanes_touched.load(std::memory_order_relaxed), view.lane_count());
  for (std::uint32_t place = 0; place < never_used_; ++place) adopt_lane(place);
  std::vector<AdoptedAnswer> answers;
  for (std::uint32_t place = 0; place < view.directory_size(); ++place) {
    if (auto answer = adopt_entry(place)) answers.push_back(std::move(*answer));
  }
  return answers;
}

void LaneTable::adopt_lane(std::uint32_t place) {
  LaneInfo& info = structure_.lane_info(place);
  const std::uint32_t generation = info.generation.load(std::memory_order_relaxed);
  const LaneKey key = load_key(info.key);
  const auto range = PortRange::unpack(info.ports.load(std::memory_order_relaxed));
  if (generation == 0 || generation >= LaneRef::kGenerations || range.empty() ||
      range.low < kLowestPort || !is_key_of_lane(key) || by_key_.contains(key)) {
    info.generation.store(0, std::memory_order_relaxed);
    graves_.push_back({place, Clock::now()});
    return;
  }
  auto record = std::make_unique<LaneRecord>();
  record->key = key;
  record->ref = {place, generation};
  record->pool = info.pool.load(std::memory_order_relaxed);
  record->range = range;
  // What is not in its maps after all, a pass finds.
  record->filled = true;
  record->holds_ports = true;
  generations_[place] = generation;
  by_key_[key] = record.get();
  records_[place] = std::move(record);
}

std::optional<LaneTable::AdoptedAnswer> LaneTable::adopt_entry(std::uint32_t place) {
  const SegmentView& view = structure_.view();
  const DirectoryEntry& entry = view.directory_entry(place);
  const std::uint32_t sequence = entry.sequence.load(std::memory_order_relaxed);
  if (sequence == 0) return std::nullopt;
  const std::uint32_t flags = entry.flags.load(std::memory_order_relaxed);
  const std::uint32_t count = entry.lane_count.load(std::memory_order_relaxed);
  Answer answer{load_key(entry.key), {}};
  bool good = sequence % 2 == 0 && count <= kLanesPerEntry;
  for (std::uint32_t i = 0; good && i < count; ++i) {
    const auto ref = LaneRef::unpack(entry.lanes[i].load(std::memory_order_relaxed));
    good = ref.index < never_used_ && in_service(view, ref);
    answer.lanes.push_back(ref);
  }
  const bool in_force = count > 0 || (flags & EntryFlags::refused) != 0;
  if (good && !in_force) return std::nullopt;
  // A place that a search for the key comes to, before it comes to another one with the same key.
  const std::uint32_t start = view.directory_start(hash_of(answer.question));
  bool reached = false;
  for (std::uint32_t probe = 0; good && !reached && probe < kDirectoryProbes; ++probe) {
    const std::uint32_t i = (start + probe) % view.directory_size();
    reached = i == place;
    const auto other = entries_.find(i);
    good = other == entries_.end() || other->second.question != answer.question;
  }
  if (!good || !reached) {
    structure_.write_entry(place, answer.question, LaneChoice{});
    return std::nullopt;
  }
  entries_[place] = answer;
  link(place, answer, true);
  return AdoptedAnswer{std::move(answer), flags};
}

}  // namespace portpool
