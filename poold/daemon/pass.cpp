#include "daemon/pass.h"

#include <fmt/format.h>

#include <algorithm>
#include <system_error>
#include <utility>

#include "daemon/log.h"
#include "lanes/lane_update.h"
#include "portpool/crash_point.h"

namespace portpool {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

// Passes may use one part in this many of a core; the smaller share while all lanes have plenty.
constexpr int kMaxShare = 40;
constexpr int kCalmShare = 250;
constexpr nanoseconds kShortestPause = milliseconds(50);
// Without changes, and for as long as a pass costs less than its share of this.
constexpr nanoseconds kQuietPause = milliseconds(1000);
constexpr milliseconds kRejectedPause{1000};
// A promise that comes to nothing is free again after this long to twice as long: most programs
// that ask for a port early connect or listen at once.
constexpr milliseconds kPromisePause{30'000};
// Lanes that nobody uses are looked at in one pass of this many.
constexpr std::uint64_t kIdleTurn = 10;
constexpr std::uint64_t kIdleBeats = 10'000 / kHeartbeatMs;
// At most this many look-ups of single ports in a pass (some 2 us each).
constexpr std::size_t kLookUps = 2048;

}  // namespace

void Pass::hurry() {
  quiet_passes_ = 0;
  plenty_ = false;
}

void Pass::want_now() {
  hurry();
  wanted_ = true;
}

void Pass::process_ended(bool nobody_left) {
  ended_ = true;
  nobody_left_ = nobody_left;
}

nanoseconds Pass::until_due() const {
  const auto now = Clock::now();
  if (nobody_left_ && now >= no_advance_before_) return nanoseconds(0);
  const bool soon = wanted_ || ended_ || room_.wants_pass();
  nanoseconds pause = kShortestPause;
  if (!soon) {
    pause = std::min(kShortestPause * (1 + std::min(quiet_passes_, 99U)), kQuietPause);
    if (plenty_) pause = std::max(pause, last_cost_ * kCalmShare);
  }
  return std::max(std::max(ended_at_ + pause, paid_until_) - now, nanoseconds(0));
}

bool Pass::is_to_be_looked_at(const LaneRecord& record) const {
  if (!record.filled) return false;
  if (all_ || (holding_ && record.holds_ports)) return true;
  // What is full may make calls fail at once: for how long must not hang on a hint.
  if (work_.lanes.info(record).full.load(std::memory_order_relaxed) != 0) return true;
  return work_.lanes.beats_unused(record) <= kIdleBeats;
}

WalkOrder Pass::begin_walk() {
  const auto now = Clock::now();
  all_ = passes_++ % kIdleTurn == 0 || nobody_left_ || room_.wants_pass();
  holding_ = std::exchange(ended_, false);
  const bool nobody_left = std::exchange(nobody_left_, false);
  wanted_ = false;
  if (now < paid_until_) no_advance_before_ = Clock::time_point::max();  // until it has been paid
  sweeps_ = now - swept_ >= kRejectedPause;
  if (sweeps_) swept_ = now;
  const bool ends_promises = now - promises_ended_ >= kPromisePause;
  if (ends_promises) promises_ended_ = now;
  const auto claims_of = [&](const LaneRecord& record) {
    if (nobody_left) return Claims::none;
    return is_for_promises(record.key) && !ends_promises ? Claims::kept : Claims::brief;
  };
  changes_ = 0;
  plenty_now_ = true;
  look_ups_left_ = kLookUps;
  cost_ = {};
  next_ = 0;
  WalkOrder order;
  const CpuMeter meter(cost_);
  for (std::uint32_t place = 0; place < work_.lanes.end(); ++place) {
    const LaneRecord* record = work_.lanes.at(place);
    if (record == nullptr) continue;
    const bool due = ends_promises && record->filled && is_for_promises(record->key);
    if (!due && !is_to_be_looked_at(*record)) continue;
    order.lanes.push_back(work_.expected(*record, claims_of(*record)));
  }
  state_ = State::walking;
  return order;
}

void Pass::walked(std::unique_ptr<Walk> walk) {
  walk_ = std::move(walk);
  cost_ += walk_->cpu;
  state_ = State::updating;
  if (!walk_->complete) return;
  work_.supply.begin(all_);
  work_.supply.add(walk_->truth.taken());
  if (BoundPorts* bound = work_.structure.view().bound_ports()) work_.supply.note_bound(*bound);
}

bool Pass::run(const Slice& slice) {
  if (state_ != State::updating) return false;
  const std::vector<LaneTruth>& lanes = walk_->truth.lanes();
  {
    const CpuMeter meter(cost_);
    while (next_ < lanes.size()) {
      if (slice.over()) return true;
      update(lanes[next_++]);
    }
  }
  end();
  return false;
}

void Pass::update(const LaneTruth& truth) {
  // Retired since, or another range: what was read is no longer about it.
  LaneRecord* record = work_.lanes.find(truth.lane().ref);
  if (record == nullptr) return;
  if (truth.range() != record->range) {
    wanted_ = true;
    return;
  }
  LaneHints& lane = work_.hints(*record);
  if (walk_->complete) {
    look_again(*record);
    changes_ += update_lane(lane, *record, truth, work_.blocked).total();
    PORTPOOL_CRASH_POINT(in_reconcile);
    plenty_now_ &= work_.note_supply(*record, &truth);
    record->holds_ports = holds_ports(*record, truth);
    record->has_sockets = has_sockets(truth);
    record->rejections = lane.rejections.load(std::memory_order_relaxed);
  }
  if (sweeps_) sweep_rejected(lane, *record);
}

void Pass::look_again(const LaneRecord& record) {
  TruthCollector& truth = walk_->truth;
  const auto ports =
      contradicted_ports(work_.hints(record), *truth.find(record.key), look_ups_left_ + 1);
  if (ports.size() > look_ups_left_) return;
  look_ups_left_ -= ports.size();
  const Endpoint destination = destination_of(record.key);
  try {
    for (const std::uint16_t port : ports) {
      truth.forget(record.key, port);
      const auto socket = work_.sock_diag.find({record.key.source, port}, destination);
      if (socket) truth.add(*socket);
    }
  } catch (const std::system_error& error) {
    warn_once_a_minute("lane", fmt::format("lane {}: {}", text_of(record.key), error.what()));
    look_ups_left_ = 0;
  }
}

void Pass::end() {
  StructureHeader& header = work_.structure.header();
  header.reconcile_passes.fetch_add(1, std::memory_order_relaxed);
  header.reconcile_cpu_ns.fetch_add(static_cast<std::uint64_t>(cost_.count()),
                                    std::memory_order_relaxed);
  const bool complete = walk_->complete;
  walk_.reset();
  state_ = State::none;
  quiet_passes_ = changes_ == 0 ? quiet_passes_ + 1 : 0;
  plenty_ = plenty_now_;
  last_cost_ = cost_;
  ended_at_ = Clock::now();
  paid_until_ = std::max(paid_until_, ended_at_) + cost_ * kMaxShare;
  if (no_advance_before_ == Clock::time_point::max()) no_advance_before_ = paid_until_;
  room_.pass_ended(all_ && complete);
}

}  // namespace portpool
