#include "lanes/retirement.h"

#include <algorithm>

#include "lanes/lane_update.h"

namespace portpool {
namespace {

constexpr std::uint64_t kIdleBeats = 10'000 / kHeartbeatMs;
constexpr std::uint64_t kIdleBeatsInNeed = 1'000 / kHeartbeatMs;
constexpr std::size_t kIdleShare = 8;
constexpr std::size_t kNeedShare = 16;

}  // namespace

std::size_t Retirement::choose_idle() {
  const std::size_t free = lanes_.places() - lanes_.size();
  const std::size_t wanted = std::max<std::size_t>(lanes_.places() / kIdleShare, 1);
  return free < wanted ? choose(wanted - free, kIdleBeats) : 0;
}

std::size_t Retirement::choose_by_need() {
  return choose(std::max<std::size_t>(lanes_.places() / kNeedShare, 1), kIdleBeatsInNeed);
}

// Each lane is looked at once, and the fine look (may_go) is left for the few that are chosen.
std::size_t Retirement::choose(std::size_t wanted, std::uint64_t least_beats) {
  std::vector<Candidate> candidates;
  for (std::uint32_t place = 0; place < lanes_.end(); ++place) {
    const LaneRecord* record = lanes_.at(place);
    if (record == nullptr || !record->filled || record->holds_ports) continue;
    const std::uint64_t unused = lanes_.beats_unused(*record);
    if (unused > least_beats) candidates.push_back({unused, record->ref});
  }
  const auto longer = [](const Candidate& a, const Candidate& b) {
    return a.beats_unused > b.beats_unused;
  };
  if (candidates.size() > wanted) {
    std::nth_element(candidates.begin(), candidates.begin() + static_cast<std::ptrdiff_t>(wanted),
                     candidates.end(), longer);
    candidates.resize(wanted);
  }
  chosen_.clear();
  for (const Candidate& candidate : candidates) chosen_.push_back(candidate.lane);
  least_beats_ = least_beats;
  return chosen_.size();
}

bool Retirement::may_go(const LaneRecord& record, std::uint64_t least_beats) const {
  return lanes_.beats_unused(record) > least_beats &&
         count_lane(lanes_.hints(record), record.range, CountFrom::marked_maps).in_use == 0;
}

bool Retirement::retire_next() {
  if (chosen_.empty()) return false;
  LaneRecord* record = lanes_.find(chosen_.back());
  chosen_.pop_back();
  if (record == nullptr) return true;
  if (!may_go(*record, least_beats_)) {
    record->holds_ports = true;  // or used; the next look at it will tell
    return true;
  }
  lanes_.retire(*record);
  ++retired_;
  return true;
}

}  // namespace portpool
