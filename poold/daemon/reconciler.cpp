#include "daemon/reconciler.h"

#include <fmt/format.h>
#include <netinet/tcp.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <bit>
#include <iterator>
#include <system_error>

#include "base/clock.h"
#include "base/error.h"
#include "daemon/log.h"
#include "daemon/sources.h"
#include "kernel/routes.h"
#include "lanes/lane_update.h"
#include "portpool/lane.h"

namespace portpool {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::steady_clock;

// A pass may use one part in this many of a core; the smaller share while all lanes have plenty.
constexpr int kMaxShare = 40;
constexpr int kCalmShare = 250;
constexpr nanoseconds kShortestPause = milliseconds(50);
// Without changes, and for as long as a pass costs less than its share of this.
constexpr nanoseconds kQuietPause = milliseconds(1000);
constexpr milliseconds kRejectedPause{1000};
// Lists of bound sockets cost milliseconds even when empty: their share is one in this many.
constexpr int kBlockedShare = 400;
constexpr nanoseconds kShortestBlockedPause = milliseconds(500);
constexpr int kDumpTries = 3;
// Lanes that nobody uses are looked at in one pass of this many.
constexpr std::uint64_t kIdleTurn = 10;
// Up to this many ports in doubt are looked up one by one (some 2 us each).
constexpr std::size_t kFewDoubts = 2048;
// So many refused claims since the last pass mean that a lane is wrong as a whole.
constexpr std::uint64_t kManyRejections = 8;
constexpr nanoseconds kShortestAttentionPause = milliseconds(2);
constexpr int kAttentionShare = 20;
// A turn of attention ends with the lane that reaches this.
constexpr std::size_t kLookupsPerTurn = 2048;
// New lanes are worth more of a core than old ones.
constexpr int kRequestShare = 4;
constexpr std::size_t kRequestsPerTurn = 32;
constexpr std::size_t kRoutesPerTurn = 32;
constexpr std::uint64_t kRecordsPerReport = 16384;
constexpr std::uint64_t kLanesPerReport = 64;

nanoseconds cpu_time() { return nanoseconds(thread_cpu_ns()); }

bool is_possible(const LaneKey& question) {
  return question.destination_port != 0 && !is_unspecified(question.destination) &&
         !is_link_local_v6(question.destination) &&
         (is_unspecified(question.source) || is_v4(question.source) == is_v4(question.destination));
}

// The requests that wait, at most kRequestsPerTurn, going round from slot `from`; each slot
// emptied. `more`: not every slot was looked at.
std::vector<LaneKey> take_requests(const SegmentView& view, std::uint32_t& from, bool& more) {
  constexpr auto kReady = static_cast<std::uint32_t>(RequestState::ready);
  constexpr auto kEmpty = static_cast<std::uint32_t>(RequestState::empty);
  std::vector<LaneKey> keys;
  std::uint32_t left = view.request_count();
  for (; left > 0 && keys.size() < kRequestsPerTurn; --left) {
    RequestSlot& slot = view.request(from);
    from = (from + 1) % view.request_count();
    if (slot.state.load(std::memory_order_acquire) != kReady) continue;
    const LaneKey key = load_key(slot.key);
    slot.state.store(kEmpty, std::memory_order_release);
    if (is_possible(key) && std::find(keys.begin(), keys.end(), key) == keys.end()) {
      keys.push_back(key);
    }
  }
  more = left > 0;
  return keys;
}

// A client that died while it wrote leaves its slot in that state for good, and whoever may attach
// can leave any other number there: a slot that is neither empty nor ready twice, kSettingsPause
// apart, is emptied.
void free_dead_slots(const SegmentView& view, std::vector<bool>& seen) {
  constexpr auto kEmpty = static_cast<std::uint32_t>(RequestState::empty);
  constexpr auto kReady = static_cast<std::uint32_t>(RequestState::ready);
  seen.resize(view.request_count());
  for (std::uint32_t i = 0; i < view.request_count(); ++i) {
    std::atomic<std::uint32_t>& state = view.request(i).state;
    std::uint32_t found = state.load(std::memory_order_relaxed);
    const bool dead = found != kEmpty && found != kReady;
    if (dead && seen[i]) state.compare_exchange_strong(found, kEmpty);
    seen[i] = dead && !seen[i];
  }
}

// For the start, when nothing is known yet that could stay in force.
template <class Value>
void require(const kernel::Answer<Value>& answer) {
  if (!answer.is_known()) throw UserError(answer.why());
}

bool is_empty(const kernel::PortRange& range) { return range.low > range.high; }

std::string text_of(const LaneKey& key) {
  return to_text(key.source) + " -> " + to_text(Endpoint{key.destination, key.destination_port});
}

}  // namespace

Reconciler::Reconciler(const StructureWriter& structure, std::vector<PoolRule> rules,
                       Strategy strategy, std::function<void()> progress)
    : structure_(structure),
      rules_(std::move(rules)),
      strategy_(strategy),
      progress_(std::move(progress)),
      lanes_(structure) {
  require(kernel::local_port_range());
  require(kernel::time_wait_reuse());
  if (strategy_ == Strategy::port_range) require(kernel::reserved_ports());
  read_settings();
}

void Reconciler::set_rules(std::vector<PoolRule> rules) {
  rules_ = std::move(rules);
  follow_sources(rules_);
  without_ports_.clear();
  lanes_.withdraw_all();
  refit_lanes();
  pass();
}

void Reconciler::read_settings() {
  const auto reuse = kernel::time_wait_reuse();
  // Absent: nothing says that the kernel allows it.
  if (reuse.is_known()) reuse_ = reuse.value().value_or(kernel::TimeWaitReuse{});
  const auto range = kernel::local_port_range();
  const auto moved = follow_sources(rules_);
  complain_once(!range.is_known() ? range.why() : !reuse.is_known() ? reuse.why() : moved.why());
  if (moved) review_answers(*moved);
  if (range && *range != local_range_) {
    local_range_ = *range;
    structure_.header().port_range.store(range->pack(), std::memory_order_relaxed);
    refit_lanes();
    pass();
  }
  if (steady_clock::now() >= blocked_due_) read_blocked();
  recheck_routes();
  free_dead_slots(structure_.view(), slots_seen_dead_);
}

void Reconciler::complain_once(const std::string& what) {
  if (!what.empty() && !complained_) {
    spdlog::warn("{}; what was known before stays in force", what);
  }
  complained_ = !what.empty();
}

void Reconciler::read_blocked() {
  const nanoseconds before = cpu_time();
  collect_blocked(sock_diag_, strategy_ == Strategy::port_range, blocked_);
  blocked_due_ =
      steady_clock::now() + std::max((cpu_time() - before) * kBlockedShare, kShortestBlockedPause);
}

void Reconciler::refit_lanes() {
  review_answers(note_pools_without_ports());
  for (const auto& record : lanes_.records()) {
    const std::uint32_t pool = pool_of(record->key);
    const kernel::PortRange range = range_for(rules_[pool]);
    // Out of service, and kept true all the same: no answer leads to it before it has ports again.
    if (is_empty(range)) {
      lanes_.suspend(*record);
    } else if (pool != record->pool || range != record->range || lanes_.is_suspended(*record)) {
      lanes_.set_range(*record, pool, range);
    }
  }
}

std::vector<std::uint32_t> Reconciler::note_pools_without_ports() {
  std::vector<std::uint32_t> changed;
  without_ports_.resize(rules_.size());
  for (std::uint32_t pool = 0; pool < rules_.size(); ++pool) {
    const PoolRule& rule = rules_[pool];
    const bool empty = is_empty(range_for(rule));
    if (empty == without_ports_[pool]) continue;
    without_ports_[pool] = empty;
    changed.push_back(pool);
    const kernel::PortRange wanted = rule.port_range.value_or(local_range_);
    if (empty) {
      spdlog::warn(
          "pool {}: none of its ports {}-{} can be given out (ip_local_port_range is {}-{}, and "
          "ports below {} are never used); its destinations are refused until that changes",
          rule.name, wanted.low, wanted.high, local_range_.low, local_range_.high, kLowestPort);
    } else {
      spdlog::info("pool {}: has ports again and is served", rule.name);
    }
  }
  return changed;
}

std::uint32_t Reconciler::pool_of(const LaneKey& question) const {
  return rule_for(rules_, {question.destination, question.destination_port});
}

void Reconciler::review_answers(const std::vector<std::uint32_t>& pools) {
  if (pools.empty()) return;
  review(lanes_.next_answers(SIZE_MAX), [&](const LaneKey& question) {
    return std::find(pools.begin(), pools.end(), pool_of(question)) != pools.end();
  });
}

// Where the source was left to routing, the answer may change while we run.
void Reconciler::recheck_routes() {
  review(lanes_.next_answers(kRoutesPerTurn), [](const LaneKey&) { return true; });
}

void Reconciler::review(const std::vector<LaneTable::Answer>& answers,
                        const std::function<bool(const LaneKey&)>& concerns) {
  std::vector<LaneKey> questions;
  for (const LaneTable::Answer& answer : answers) {
    if (concerns(answer.question) && is_outdated(answer)) questions.push_back(answer.question);
  }
  answer(questions);
}

bool Reconciler::is_outdated(const LaneTable::Answer& answer) const {
  const LaneKey& question = answer.question;
  const auto sources = sources_for(question, rules_[pool_of(question)]);
  if (!sources.is_known()) return false;
  if (sources.is_absent()) return !answer.lanes.empty();
  const auto leads_to = [&](const Address& source, const LaneRef& lane) {
    const LaneRecord* record =
        lanes_.find({source, question.destination, question.destination_port});
    return record != nullptr && record->ref == lane;
  };
  return !std::equal(sources->begin(), sources->end(), answer.lanes.begin(), answer.lanes.end(),
                     leads_to);
}

kernel::PortRange Reconciler::range_for(const PoolRule& rule) const {
  kernel::PortRange range = rule.port_range.value_or(local_range_);
  // A pin outside ip_local_port_range would be ignored without a word (ip(7)).
  if (strategy_ == Strategy::port_range) {
    range.low = std::max(range.low, local_range_.low);
    range.high = std::min(range.high, local_range_.high);
  }
  range.low = std::max(range.low, kLowestPort);
  return range;
}

kernel::Answer<Reconciler::Sources> Reconciler::sources_for(const LaneKey& question,
                                                            const PoolRule& rule) const {
  if (is_empty(range_for(rule))) return kernel::Answer<Sources>::absent();
  if (!is_unspecified(question.source)) return Sources{question.source};
  const auto fits = [&](const Address& source) {
    return is_v4(source) == is_v4(question.destination) &&
           is_loopback(source) == is_loopback(question.destination);
  };
  Sources sources;
  std::copy_if(rule.sources.begin(), rule.sources.end(), std::back_inserter(sources), fits);
  if (!sources.empty()) return sources;
  // Those that are named for it are away: no lanes of an address that nobody has named.
  if (std::any_of(rule.source_entries.begin(), rule.source_entries.end(),
                  [&](const AddressPrefix& entry) { return fits(entry.base); })) {
    return kernel::Answer<Sources>::absent();
  }
  const auto route = kernel::route_to(question.destination);
  if (!route.is_known()) return kernel::Answer<Sources>::unknown(route.why());
  return route ? Sources{route->source} : kernel::Answer<Sources>::absent();
}

Reconciler::Pending Reconciler::plan(const LaneKey& question) {
  Pending pending{question, {}, {}};
  const std::uint32_t pool = pool_of(question);
  const PoolRule& rule = rules_[pool];
  const kernel::PortRange range = range_for(rule);
  const auto sources = sources_for(question, rule);
  pending.refused = sources.is_absent();
  for (const Address& source : sources.value().value_or(Sources{})) {
    const LaneKey key{source, question.destination, question.destination_port};
    LaneRecord* record = lanes_.find(key);
    if (record == nullptr) {
      record = lanes_.add(key, pool, range);
      if (record == nullptr) continue;
      pending.fresh.push_back(record);
    }
    pending.lanes.push_back(record);
  }
  const bool own_sources = is_unspecified(question.source) && !rule.source_entries.empty();
  if (own_sources) pending.flags |= EntryFlags::bind_source;
  if (rule.source_policy == SourcePolicy::balance) pending.flags |= EntryFlags::balance;
  if (rule.on_exhaustion == OnExhaustion::fail_fast) pending.flags |= EntryFlags::fail_fast;
  return pending;
}

bool Reconciler::dump_for(const std::vector<LaneRecord*>& records) {
  std::vector<Endpoint> destinations;
  destinations.reserve(records.size());
  for (const LaneRecord* record : records) {
    destinations.push_back({record->key.destination, record->key.destination_port});
  }
  std::uint64_t seen = 0;
  const auto visit = [&](const kernel::SocketRecord& socket) {
    truth_.add(socket);
    if (++seen % kRecordsPerReport == 0) progress_();
  };
  kernel::DumpFilter filter;
  filter.states = ~(kernel::state_bit(TCP_LISTEN) | kernel::state_bit(kernel::kTcpBoundInactive));
  filter.destinations = destinations;
  return sock_diag_.dump(filter, visit).complete;
}

void Reconciler::fill_new(const std::vector<LaneRecord*>& fresh) {
  read_blocked();
  for (int left = kDumpTries; left > 0; --left) {
    truth_.begin(reuse_);
    for (const LaneRecord* record : fresh) truth_.expect(*record, lanes_.hints(*record));
    // After the last try even a torn reading is a better start than none: what it missed costs a
    // rejection each, until the next pass.
    const bool complete = dump_for(fresh);
    if (!complete && left > 1) continue;
    for (const LaneRecord* record : fresh) {
      const LaneTruth* truth = truth_.find(record->key);
      fill_lane(lanes_.hints(*record), *record, *truth, blocked_);
      note_supply(*record, complete ? truth : nullptr);
    }
    return;
  }
}

Turn Reconciler::serve_requests() {
  const nanoseconds before = cpu_time();
  bool more = false;
  answer(take_requests(structure_.view(), requests_from_, more));
  return {(cpu_time() - before) * kRequestShare, more};
}

void Reconciler::answer(const std::vector<LaneKey>& questions) {
  std::vector<Pending> pending;
  std::vector<LaneRecord*> fresh;
  for (const LaneKey& question : questions) {
    pending.push_back(plan(question));
    fresh.insert(fresh.end(), pending.back().fresh.begin(), pending.back().fresh.end());
  }
  if (!fresh.empty()) fill_new(fresh);
  for (const Pending& answer : pending) {
    const LaneKey& question = answer.question;
    // Without a lane because all places are taken, or because the route is not known: the client
    // asks again.
    if (answer.lanes.empty() && !answer.refused) {
      lanes_.withdraw(question);
    } else if (!lanes_.publish(question, {answer.lanes.begin(), answer.lanes.end()},
                               answer.flags)) {
      warn_rarely({question.destination, question.destination_port});
    }
    if (!spdlog::should_log(spdlog::level::debug)) continue;
    for (const LaneRecord* record : answer.fresh) {
      spdlog::debug("lane {}: ports {}-{}", text_of(record->key), record->range.low,
                    record->range.high);
    }
  }
}

// A destination that finds no place is asked for at every connect.
void Reconciler::warn_rarely(const Endpoint& destination) {
  warn_once_a_minute(
      "no place in the directory",
      fmt::format("no place in the directory for {} ({} times so far); raise max_lanes",
                  to_text(destination), ++places_missing_));
}

bool Reconciler::note_supply(const LaneRecord& record, const LaneTruth* truth) {
  return supply_.note(lanes_.info(record), lanes_.hints(record), record, truth, blocked_);
}

void Reconciler::ask_for(const LaneRecord& record, std::uint16_t port) {
  const Endpoint destination{record.key.destination, record.key.destination_port};
  if (const auto socket = sock_diag_.find({record.key.source, port}, destination)) {
    truth_.add(*socket);
  }
}

// A dump takes long enough for a client to take a port and to give it back. Withdrawn for that, the
// port would be missing until two more passes have not seen it: where few ports are left, it
// counts.
void Reconciler::look_again(const std::vector<LaneRecord*>& records) {
  std::size_t left = kFewDoubts;
  for (const LaneRecord* record : records) {
    const auto ports =
        contradicted_ports(lanes_.hints(*record), *truth_.find(record->key), left + 1);
    if (ports.size() > left) continue;
    left -= ports.size();
    try {
      for (const std::uint16_t port : ports) {
        truth_.forget(record->key, port);
        ask_for(*record, port);
      }
    } catch (const std::system_error& error) {
      warn_once_a_minute("lane", fmt::format("lane {}: {}", text_of(record->key), error.what()));
      return;
    }
  }
}

std::optional<std::size_t> Reconciler::check_port_by_port(LaneRecord& record) {
  LaneHints& lane = lanes_.hints(record);
  const auto doubts = quarantined_ports(lane, record.range, kFewDoubts + 1);
  if (doubts.size() > kFewDoubts) return std::nullopt;
  truth_.begin(reuse_);
  truth_.expect(record, lane);
  PortBits asked = {};
  for (const std::uint16_t port : doubts) {
    ask_for(record, port);
    asked[port / 64] |= std::uint64_t{1} << (port % 64);
  }
  update_ports(lane, record, *truth_.find(record.key), blocked_, asked);
  return doubts.size();
}

// Others took ports since the last pass, or gave some back: which ones, only a pass can tell.
bool Reconciler::is_out_of_date(const LaneRecord& record) const {
  const std::uint32_t full = lanes_.info(record).full.load(std::memory_order_relaxed);
  if (full != 0 && lanes_.hints(record).relieved.load(std::memory_order_relaxed) == full)
    return true;
  return lanes_.hints(record).rejections.load(std::memory_order_relaxed) - record.rejections >=
         kManyRejections;
}

Turn Reconciler::serve_attention() {
  const nanoseconds before = cpu_time();
  const auto& records = lanes_.records();
  std::size_t lookups = 0;
  std::size_t left = records.size();
  for (; left > 0 && lookups < kLookupsPerTurn; --left) {
    LaneRecord& record = *records[attention_from_++ % records.size()];
    LaneHints& lane = lanes_.hints(record);
    if (lane.attention.load(std::memory_order_relaxed) == 0) continue;
    lane.attention.store(0, std::memory_order_release);
    try {
      std::optional<std::size_t> looked_up;
      if (!is_out_of_date(record)) looked_up = check_port_by_port(record);
      lookups += looked_up.value_or(0);
      // With many ports in doubt the next pass is the cheaper way.
      if (!looked_up) {
        quiet_passes_ = 0;
        plenty_ = false;
      }
    } catch (const std::system_error& error) {
      warn_once_a_minute("lane", fmt::format("lane {}: {}", text_of(record.key), error.what()));
    }
    note_supply(record, nullptr);
  }
  return {std::max((cpu_time() - before) * kAttentionShare, kShortestAttentionPause), left > 0};
}

void Reconciler::pass() {
  const nanoseconds cpu_before = cpu_time();
  const auto now = steady_clock::now();
  const bool idle_too = passes_++ % kIdleTurn == 0;
  std::vector<LaneRecord*> records;
  for (const auto& record : lanes_.records()) {
    // What is full may make calls fail at once: for how long must not hang on a hint.
    const bool full = lanes_.info(*record).full.load(std::memory_order_relaxed) != 0;
    if (idle_too || full || !lanes_.is_idle(*record)) records.push_back(record.get());
  }
  std::uint32_t changes = 0;
  bool plenty = true;
  std::uint64_t updated = 0;
  if (!records.empty()) {
    truth_.begin(reuse_);
    for (const LaneRecord* record : records) truth_.expect(*record, lanes_.hints(*record));
    if (dump_for(records)) {
      look_again(records);
      supply_.begin(idle_too);
      for (const LaneRecord* record : records) supply_.add(*truth_.find(record->key));
      for (LaneRecord* record : records) {
        changes += update_lane(lanes_.hints(*record), *record, *truth_.find(record->key), blocked_)
                       .total();
        plenty &= note_supply(*record, truth_.find(record->key));
        record->rejections = lanes_.hints(*record).rejections.load(std::memory_order_relaxed);
        if (++updated % kLanesPerReport == 0) progress_();
      }
    }
    if (now - rejected_swept_ >= kRejectedPause) {
      for (LaneRecord* record : records) sweep_rejected(lanes_.hints(*record), *record);
      rejected_swept_ = now;
    }
  }
  if (const std::size_t retired = lanes_.retire_idle(); retired > 0) {
    spdlog::debug("{} idle lanes retired", retired);
  }
  const nanoseconds cpu = cpu_time() - cpu_before;
  StructureHeader& header = structure_.header();
  header.reconcile_passes.fetch_add(1, std::memory_order_relaxed);
  header.reconcile_cpu_ns.fetch_add(static_cast<std::uint64_t>(cpu.count()),
                                    std::memory_order_relaxed);
  quiet_passes_ = changes == 0 ? quiet_passes_ + 1 : 0;
  plenty_ = plenty;
  pass_cost_ = cpu;
  pass_ended_ = steady_clock::now();
}

nanoseconds Reconciler::until_pass() const {
  const nanoseconds by_need = kShortestPause * (1 + std::min(quiet_passes_, 99U));
  const nanoseconds by_cost = pass_cost_ * (plenty_ ? kCalmShare : kMaxShare);
  const auto due = pass_ended_ + std::max(by_cost, std::min(by_need, kQuietPause));
  return std::max(due - steady_clock::now(), nanoseconds(1));
}

}  // namespace portpool
