#include "reconcile/reconciler.h"

#include <spdlog/spdlog.h>
#include <time.h>

#include <algorithm>
#include <set>

#include "kernel/routes.h"
#include "reconcile/lane_update.h"

namespace portpool {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::steady_clock;

// A pass may use one part in this many of a core.
constexpr int kMaxShare = 40;
constexpr nanoseconds kShortestPause = milliseconds(50);
constexpr nanoseconds kLongestPause = milliseconds(1000);
constexpr milliseconds kSettingsPause{500};
constexpr milliseconds kRejectedPause{1000};
// Up to this many destination ports are asked for one by one; with more, the whole table is read.
constexpr std::size_t kFewPorts = 4;
constexpr int kDumpTries = 3;

nanoseconds cpu_time() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return std::chrono::seconds(t.tv_sec) + nanoseconds(t.tv_nsec);
}

bool is_possible(const LaneKey& question) {
  return question.destination_port != 0 && !is_unspecified(question.destination) &&
         !is_link_local_v6(question.destination) &&
         (is_unspecified(question.source) || is_v4(question.source) == is_v4(question.destination));
}

// The requests that wait, each slot emptied. A slot whose writer died half-way is emptied too, when
// it is found unchanged a second time.
std::vector<LaneKey> take_requests(const SegmentView& view) {
  constexpr auto kReady = static_cast<std::uint32_t>(RequestState::ready);
  constexpr auto kEmpty = static_cast<std::uint32_t>(RequestState::empty);
  std::vector<LaneKey> keys;
  for (std::uint32_t i = 0; i < view.request_count(); ++i) {
    RequestSlot& slot = view.request(i);
    if (slot.state.load(std::memory_order_acquire) != kReady) continue;
    const LaneKey key = load_key(slot.key);
    slot.state.store(kEmpty, std::memory_order_release);
    if (is_possible(key) && std::find(keys.begin(), keys.end(), key) == keys.end())
      keys.push_back(key);
  }
  return keys;
}

}  // namespace

Reconciler::Reconciler(const SegmentView& view, std::vector<PoolRule> rules)
    : view_(view), rules_(std::move(rules)), lanes_(view) {
  read_settings();
}

void Reconciler::read_settings() {
  reuse_ = kernel::time_wait_reuse();
  // Without /proc the documented default (ip-sysctl.rst).
  local_range_ = kernel::local_port_range().value_or(kernel::PortRange{32768, 60999});
  view_.header().port_range.store(std::uint32_t{local_range_.high} << 16 | local_range_.low,
                                  std::memory_order_relaxed);
  collect_blocked(sock_diag_, blocked_);
  settings_read_ = steady_clock::now();
}

kernel::PortRange Reconciler::range_for(const PoolRule& rule) const {
  if (!rule.port_range) return local_range_;
  // A pin outside ip_local_port_range would be ignored without a word (ip(7)).
  return {std::max(rule.port_range->low, local_range_.low),
          std::min(rule.port_range->high, local_range_.high)};
}

std::vector<Address> Reconciler::sources_for(const LaneKey& question) const {
  if (!is_unspecified(question.source)) return {question.source};
  const auto route = kernel::route_to(question.destination);
  return route ? std::vector{route->source} : std::vector<Address>{};
}

Reconciler::Pending Reconciler::plan(const LaneKey& question) {
  Pending pending{question, {}, {}};
  const std::uint32_t pool = rule_for(rules_, {question.destination, question.destination_port});
  const kernel::PortRange range = range_for(rules_[pool]);
  if (range.low > range.high) return pending;
  for (const Address& source : sources_for(question)) {
    const LaneKey key{source, question.destination, question.destination_port};
    LaneRecord* record = lanes_.find(key);
    if (record == nullptr) {
      record = lanes_.add(key, pool, range);
      if (record == nullptr) continue;
      pending.fresh.push_back(record);
    }
    pending.lanes.push_back(record);
  }
  return pending;
}

bool Reconciler::dump_for(const std::vector<LaneRecord*>& records, TruthCollector& truth) {
  std::set<std::uint16_t> ports;
  for (const LaneRecord* record : records) ports.insert(record->key.destination_port);
  if (ports.size() > kFewPorts) ports = {0};
  const auto visit = [&](const kernel::SocketRecord& socket) { truth.add(socket); };
  for (const std::uint16_t port : ports) {
    kernel::DumpFilter filter;
    filter.states = ~(kernel::state_bit(10) | kernel::state_bit(kernel::kTcpBoundInactive));
    filter.destination_port = port;
    if (!sock_diag_.dump(filter, visit).complete) return false;
  }
  return true;
}

void Reconciler::serve_requests() {
  std::vector<Pending> pending;
  std::vector<LaneRecord*> fresh;
  for (const LaneKey& question : take_requests(view_)) {
    pending.push_back(plan(question));
    fresh.insert(fresh.end(), pending.back().fresh.begin(), pending.back().fresh.end());
  }
  if (!fresh.empty()) {
    collect_blocked(sock_diag_, blocked_);
    bool complete = false;
    for (int i = 0; i < kDumpTries && !complete; ++i) {
      TruthCollector truth(reuse_);
      for (const LaneRecord* record : fresh) truth.expect(*record, lanes_.lane(*record));
      complete = dump_for(fresh, truth);
      if (!complete && i + 1 < kDumpTries) continue;
      // After the last try even a torn reading is a better start than none: what it missed costs a
      // rejection each, until the next pass.
      for (const LaneRecord* record : fresh) {
        fill_lane(lanes_.lane(*record), *record, *truth.find(record->key), blocked_);
      }
    }
  }
  for (const Pending& answer : pending) {
    if (!lanes_.publish(answer.question, {answer.lanes.begin(), answer.lanes.end()})) {
      spdlog::warn(
          "no place in the directory for {}; raise max_lanes",
          to_text(Endpoint{answer.question.destination, answer.question.destination_port}));
    }
    for (const LaneRecord* record : answer.fresh) {
      spdlog::info("lane {} -> {}: ports {}-{}", to_text(record->key.source),
                   to_text(Endpoint{record->key.destination, record->key.destination_port}),
                   record->range.low, record->range.high);
    }
  }
}

nanoseconds Reconciler::pass() {
  const nanoseconds cpu_before = cpu_time();
  const auto now = steady_clock::now();
  if (now - settings_read_ >= kSettingsPause) read_settings();
  std::vector<LaneRecord*> records;
  for (const auto& record : lanes_.records()) records.push_back(record.get());
  std::uint32_t changes = 0;
  if (!records.empty()) {
    TruthCollector truth(reuse_);
    for (const LaneRecord* record : records) truth.expect(*record, lanes_.lane(*record));
    if (dump_for(records, truth)) {
      for (LaneRecord* record : records) {
        changes +=
            update_lane(lanes_.lane(*record), *record, *truth.find(record->key), blocked_).total();
      }
    }
    if (now - rejected_swept_ >= kRejectedPause) {
      for (LaneRecord* record : records) sweep_rejected(lanes_.lane(*record), *record);
      rejected_swept_ = now;
    }
  }
  const nanoseconds cpu = cpu_time() - cpu_before;
  SegmentHeader& header = view_.header();
  header.reconcile_passes.fetch_add(1, std::memory_order_relaxed);
  header.reconcile_cpu_ns.fetch_add(static_cast<std::uint64_t>(cpu.count()),
                                    std::memory_order_relaxed);
  quiet_passes_ = changes == 0 ? quiet_passes_ + 1 : 0;
  const nanoseconds by_need = kShortestPause * (1 + std::min(quiet_passes_, 19U));
  return std::clamp(std::max(cpu * kMaxShare, by_need), kShortestPause, kLongestPause);
}

}  // namespace portpool
