#include "daemon/answers.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "daemon/log.h"
#include "lanes/lane_update.h"
#include "portpool/crash_point.h"

namespace portpool {
namespace {

// New lanes are worth more of a core than old ones.
constexpr int kShare = 4;
constexpr std::size_t kFreshPerBatch = 256;
constexpr int kWalkTries = 3;
constexpr auto kReady = static_cast<std::uint32_t>(RequestState::ready);
constexpr auto kEmpty = static_cast<std::uint32_t>(RequestState::empty);

bool is_possible(const LaneKey& question) {
  if (is_for_promises(question)) return !is_link_local_v6(question.source);
  return question.destination_port != 0 && !is_unspecified(question.destination) &&
         !is_link_local_v6(question.destination) &&
         (is_unspecified(question.source) || is_v4(question.source) == is_v4(question.destination));
}

}  // namespace

void Answers::take_requests() {
  const SegmentView& view = work_.structure.view();
  std::unordered_set<LaneKey, KeyHash> seen(asked_.begin(), asked_.end());
  for (std::uint32_t i = 0; i < view.request_count(); ++i) {
    RequestSlot& slot = view.request(i);
    if (slot.state.load(std::memory_order_acquire) != kReady) continue;
    const LaneKey key = load_key(slot.key);
    slot.state.store(kEmpty, std::memory_order_release);
    if (is_possible(key) && seen.insert(key).second) asked_.push_back(key);
  }
}

void Answers::free_dead_slots() {
  const SegmentView& view = work_.structure.view();
  slots_seen_dead_.resize(view.request_count());
  for (std::uint32_t i = 0; i < view.request_count(); ++i) {
    std::atomic<std::uint32_t>& state = view.request(i).state;
    std::uint32_t found = state.load(std::memory_order_relaxed);
    const bool dead = found != kEmpty && found != kReady;
    if (dead && slots_seen_dead_[i]) state.compare_exchange_strong(found, kEmpty);
    slots_seen_dead_[i] = dead && !slots_seen_dead_[i];
  }
}

bool Answers::is_outdated(const LaneTable::Answer& answer) const {
  const LaneKey& question = answer.question;
  if (work_.rewritten.contains(destination_of(question))) return !answer.lanes.empty();
  const auto sources = work_.settings.sources_for(question, work_.settings.pool_of(question));
  if (!sources.is_known()) return false;
  if (sources.is_absent()) return !answer.lanes.empty();
  const auto leads_to = [&](const Address& source, const LaneRef& lane) {
    const LaneRecord* record =
        work_.lanes.find(LaneKey{source, question.destination, question.destination_port});
    return record != nullptr && record->ref == lane;
  };
  return !std::equal(sources->begin(), sources->end(), answer.lanes.begin(), answer.lanes.end(),
                     leads_to);
}

void Answers::rewritten(const LaneRecord& lane) {
  // Not for everybody, at least. Whoever may attach can say so of any lane; the kernel cannot be
  // made to.
  if (lane.has_sockets) return;
  const Endpoint destination = destination_of(lane.key);
  if (work_.rewritten.note(destination)) {
    warn_once_a_minute(
        "rewritten",
        fmt::format("connects to {} are rewritten on the way (by a program at cgroup/connect4 or "
                    "connect6?); they stay on the kernel's path and are tried again in {} s",
                    to_text(destination), RewrittenDestinations::kRest.count()));
  }
  for (const LaneKey& question : work_.lanes.questions_to(lane)) ask_again(question);
}

bool Answers::run(const Slice& slice) {
  if (waits() && Clock::now() >= due_) {
    if (std::exchange(rung_, false)) take_requests();
    state_ = State::planning;
  }
  if (state_ == State::idle) return false;
  {
    const CpuMeter meter(cost_);
    while (step()) {
      if (slice.over()) return true;
    }
  }
  if (state_ == State::idle) {
    due_ = Clock::now() + cost_ * kShare;
    cost_ = {};
  }
  return false;
}

// False: nothing to do before a walk has ended, or at all.
bool Answers::step() {
  switch (state_) {
    case State::planning:
      return plan_next();
    case State::filling:
      return fill_next();
    case State::publishing:
      return publish_next();
    default:
      return false;
  }
}

bool Answers::plan_next() {
  if (!asked_.empty() && fresh_.size() < kFreshPerBatch) {
    const LaneKey question = asked_.front();
    asked_.pop_front();
    plan(question);
    return true;
  }
  next_ = 0;
  state_ = fresh_.empty() ? State::publishing : State::wants_walk;
  return fresh_.empty();
}

void Answers::plan(const LaneKey& question) {
  Pending pending{question, {}};
  if (work_.rewritten.contains(destination_of(question))) {
    pending.settings = work_.settings.version();
    pending.flags = EntryFlags::rewritten;
    pending.refused = true;
    pending_.push_back(std::move(pending));
    return;
  }
  const std::uint32_t pool = work_.settings.pool_of(question);
  const PoolRule& rule = work_.settings.rule(pool);
  const auto sources = work_.settings.sources_for(question, pool);
  pending.settings = work_.settings.version();
  pending.refused = sources.is_absent();
  for (const Address& source : sources.value().value_or(LaneSettings::Sources{})) {
    const LaneKey key{source, question.destination, question.destination_port};
    LaneRecord* record = work_.lanes.find(key);
    if (record == nullptr) {
      record = work_.lanes.add(key, pool, work_.settings.range_of(pool));
      if (record == nullptr) {
        room_.needed();
        continue;
      }
      fresh_.push_back(record->ref);
    }
    pending.lanes.push_back(record->ref);
  }
  pending.flags =
      pending.refused ? work_.settings.why_absent(question, pool) : flags_for(question, rule);
  pending_.push_back(std::move(pending));
}

std::uint32_t Answers::flags_for(const LaneKey& question, const PoolRule& rule) {
  std::uint32_t flags = 0;
  const bool own_sources = is_unspecified(question.source) && !rule.source_entries.empty();
  if (own_sources) flags |= EntryFlags::bind_source;
  if (rule.source_policy == SourcePolicy::balance) flags |= EntryFlags::balance;
  if (rule.on_exhaustion == OnExhaustion::fail_fast) flags |= EntryFlags::fail_fast;
  return flags;
}

WalkOrder Answers::begin_walk() {
  WalkOrder order;
  for (const LaneRef ref : fresh_) {
    if (const LaneRecord* record = work_.lanes.find(ref)) {
      order.lanes.push_back(work_.expected(*record));
    }
  }
  order.tries = kWalkTries;
  state_ = State::walking;
  return order;
}

void Answers::walked(std::unique_ptr<Walk> walk) {
  walk_ = std::move(walk);
  cost_ += walk_->cpu + walk_->blocked_cpu;
  next_ = 0;
  state_ = State::filling;
}

bool Answers::fill_next() {
  if (next_ == fresh_.size()) {
    fresh_.clear();
    walk_.reset();
    next_ = 0;
    state_ = State::publishing;
    return true;
  }
  LaneRecord* record = work_.lanes.find(fresh_[next_++]);
  if (record == nullptr) return true;
  // Even a torn reading is a better start than none: what it missed costs a rejection each, until
  // the next pass.
  const LaneTruth* truth = walk_->truth.find(record->key);
  const LaneTruth nothing(work_.expected(*record));
  if (truth == nullptr) truth = &nothing;
  fill_lane(work_.hints(*record), *record, *truth, work_.blocked);
  PORTPOOL_CRASH_POINT(lane_filled);
  record->filled = true;
  record->holds_ports = holds_ports(*record, *truth);
  record->has_sockets = has_sockets(*truth);
  const bool known = walk_->complete && truth->range() == record->range;
  work_.note_supply(*record, known ? truth : nullptr);
  if (spdlog::should_log(spdlog::level::debug)) {
    spdlog::debug("lane {}: ports {}-{}", text_of(record->key), record->range.low,
                  record->range.high);
  }
  return true;
}

bool Answers::publish_next() {
  if (next_ == pending_.size()) {
    pending_.clear();
    state_ = State::idle;
    return false;
  }
  publish(pending_[next_++]);
  return true;
}

void Answers::publish(const Pending& answer) {
  // By rules that are not in force any more.
  if (answer.settings != work_.settings.version()) return ask_again(answer.question);
  std::vector<const LaneRecord*> lanes;
  for (const LaneRef ref : answer.lanes) {
    if (const LaneRecord* record = work_.lanes.find(ref)) lanes.push_back(record);
  }
  // Without a lane because all places are taken, or because the route is not known: the program
  // asks again.
  if (lanes.empty() && !answer.refused) {
    work_.lanes.withdraw(answer.question);
  } else if (!work_.lanes.publish(answer.question, lanes, answer.flags)) {
    warn_rarely(answer.question);
  }
}

void Answers::warn_rarely(const LaneKey& question) {
  warn_once_a_minute(
      "no place in the directory",
      fmt::format("no place in the directory for {} ({} times so far); raise max_lanes",
                  to_text(destination_of(question)), ++places_missing_));
}

}  // namespace portpool
