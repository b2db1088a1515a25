#include "shim/pool_path.h"

#include <algorithm>
#include <ctime>
#include <utility>

#include "portpool/bound_ports.h"
#include "portpool/crash_point.h"
#include "portpool/endpoint.h"
#include "portpool/lane.h"
#include "portpool/system_call.h"
#include "shim/attach.h"
#include "shim/ends.h"
#include "shim/lanes.h"
#include "shim/process.h"
#include "shim/question.h"
#include "shim/real.h"
#include "shim/record.h"
#include "shim/route.h"
#include "shim/strategy.h"
#include "shim/tuple.h"

namespace portpool::shim {
namespace {

// Lanes in which this many claims in a row are refused are wrong as a whole, and will be
// reconciled; 16 refusals cost about 10 us, a tenth of what the kernel's search costs past its
// cliff.
constexpr int kMaxAttempts = 16;
// By bind(): ports tried for one that nobody else has, before one is shared.
constexpr int kLoneBinds = 4;
// Where ports are spared, so many may be bound in the smallest range, too.
constexpr std::uint32_t kBoundAtLeast = 64;
// Ports tried that other lanes have bound, there.
constexpr int kSharedBinds = 8;
// The same once the kernel's own choice has failed and any port is better than the error, and how
// many of those that the lane withholds are asked for then: up to 1 ms.
constexpr int kLastAttempts = 64;
constexpr std::uint32_t kWithheld = 64;
// How long a call waits for a lane where only that can save it.
constexpr int kLaneTurns = 20;
constexpr long kLaneTurnNs = 1'000'000;
// Under fail-fast, how often the kernel is asked all the same whether nothing is free.
constexpr std::uint64_t kProbePauseNs = 10'000'000;
// What fails later than this after the call began has been on the wire: the next source would cost
// as much again.
constexpr std::uint64_t kAtOnceNs = 50'000'000;
// So many refused claims in one call: is it the lane's 4-tuple that the kernel looks at?
constexpr int kDoubtfulAttempts = 4;
// Without a refusal, of one call in 64 it is looked at where it has gone: 0.3 us.
constexpr int kLookShift = 58;

// What became of a call that the pool does not finish: with each port and lane that is tried it
// only ever moves down this list.
enum class Fate { no_lane, not_mapped, source_failed, lane_full, rejected, half_bound, pin_failed };

FallbackReason reason_of(Fate fate) {
  switch (fate) {
    case Fate::no_lane:
      return FallbackReason::k_no_lane;
    case Fate::not_mapped:
      return FallbackReason::k_attach_failed;
    case Fate::source_failed:
      return FallbackReason::k_source_failed;
    case Fate::lane_full:
      return FallbackReason::k_lane_full;
    case Fate::rejected:
      return FallbackReason::k_rejected;
    case Fate::half_bound:
      return FallbackReason::k_half_bound;
    case Fate::pin_failed:
      return FallbackReason::k_pin_failed;
  }
  return FallbackReason::k_no_lane;
}

// What is known of a port that was claimed.
enum class Standing {
  free,     // by the lane
  waiting,  // in TIME_WAIT, by the lane
  unused,   // toward the destination, by the kernel
};

struct ClaimedPort {
  LaneRef lane;
  Address source;  // the lane's
  Port port;
  Standing standing = Standing::free;
};

enum class Outcome {
  finished,
  next_port,  // the kernel does not give this one
  next_lane,  // this lane not
  no_lane,    // none of them
};

void note_ends(Ends ends, const SegmentView& view, LaneRef lane, SourceBy by) {
  if (ends == Ends::other_destination) report_rewritten(view, lane);
  if (ends != Ends::other_source) return;
  if (by == SourceBy::route || by == SourceBy::asking) note_other_source(by == SourceBy::asking);
}

class PoolCall {
 public:
  PoolCall(const Call& call, SocketState& state, const SegmentView& view, const Question& question,
           Sharing sharing)
      : call_(call),
        state_(state),
        view_(view),
        question_(question),
        sharing_(sharing),
        strategy_(attached_strategy()),
        pinning_(pin_strategy(strategy_)),
        random_(random_at(call.start_ns)),
        promised_(call.promise.port),
        reuse_is_set_(state.own_reuse) {}

  // `source`: where the lane was not to blame, that by which this socket really leaves; the call
  // is to be made with lanes of that one.
  bool run(int& result, Miss& miss, Address& source) {
    const std::uint32_t first =
        (question_.choice.flags & EntryFlags::balance) != 0
            ? static_cast<std::uint32_t>(random_ >> 40) % question_.choice.count
            : 0;
    for (std::uint32_t i = 0; i < question_.choice.count && attempts_ < most_attempts(); ++i) {
      const Outcome outcome =
          try_lane(question_.choice.lanes[(first + i) % question_.choice.count], result);
      if (outcome == Outcome::finished) return true;
      if (outcome == Outcome::no_lane) break;
    }
    miss.why = reason_of(fate_);
    const bool in_vain = fate_ == Fate::lane_full || fate_ == Fate::rejected;
    if (in_vain && stays(miss, source) && fate_ == Fate::lane_full && fails_fast(miss)) {
      result = -1;
      count(&view_, Counter::k_failed_fast);
      Call failed = call_;
      failed.why = TraceWhy::failed_fast;
      record_call(failed, state_, Route::pool, EADDRNOTAVAIL);
      undo();
      errno = EADDRNOTAVAIL;
      return true;
    }
    undo();
    return false;
  }

 private:
  bool names_sources() const { return question_.by == SourceBy::pool; }

  int most_attempts() const { return sharing_ == Sharing::allowed ? kLastAttempts : kMaxAttempts; }

  void reach(Fate fate) {
    if (fate_ < fate) fate_ = fate;
  }

  Outcome try_lane(LaneRef ref, int& result) {
    LaneIdentity lane;
    if (!read_lane(view_, ref, lane)) return Outcome::next_lane;
    if (!view_.has_lane(ref.index)) {
      reach(Fate::not_mapped);
      return Outcome::next_lane;
    }
    // What the program bound comes before what the pool names, and both before the kernel's choice.
    source_ = names_sources()                     ? lane.key.source
              : question_.by == SourceBy::program ? question_.key.source
                                                  : Address{};
    if (strategy_ == Strategy::bind && names_sources() && !leads_to(source_, call_.destination)) {
      return without_source();
    }
    const LaneInfo& info = view_.lane_info(ref.index);
    // A socket with a route of its own may meet, on a shared port, what its lane knows nothing of.
    const std::uint32_t crowding = info.crowding.load(std::memory_order_relaxed);
    const bool crowded = !state_.own_route && (crowding & Crowding::crowded) != 0;
    may_share_ = sharing_ == Sharing::allowed || crowded;
    LaneHints& hints = view_.lane_hints(ref.index);
    mark_used(view_, hints);
    count_connect(hints, random_);
    const bool spares = strategy_ == Strategy::bind && sharing_ != Sharing::allowed &&
                        (crowding & Crowding::exposed) != 0;
    const std::uint16_t promised = std::exchange(promised_, 0);
    if (promised != 0 && (!spares || may_bind_another(lane.ports))) {
      ClaimedPort port{ref, lane.key.source, {}};
      if (claim_this_port(view_, ref, promised, port.port)) {
        const Outcome outcome = try_port(port, may_share_, result);
        if (outcome != Outcome::next_port) return outcome;
        ++attempts_;
      }
    }
    if (spares) {
      const Outcome outcome = spare_ports(ref, lane, result);
      if (outcome != Outcome::next_port) return outcome;
    }
    while (attempts_ < most_attempts()) {
      ClaimedPort port{ref, lane.key.source, {}};
      const Claim claimed = claim_from(port);
      if (claimed == Claim::gone) return Outcome::next_lane;
      const bool running_low = claimed == Claim::empty || free_is_empty(hints) ||
                               info.low.load(std::memory_order_relaxed) != 0;
      if (running_low) ask_attention(view_, ref);
      if (claimed == Claim::empty) {
        hints.exhausted.fetch_add(1, std::memory_order_relaxed);
        reach(Fate::lane_full);
        return sharing_ == Sharing::allowed ? share_withheld(ref, lane, result)
                                            : Outcome::next_lane;
      }
      if (claimed == Claim::port) {
        const bool shared = may_share_ && attempts_ >= kLoneBinds;
        const Outcome outcome = try_port(port, shared, result);
        if (outcome != Outcome::next_port) return outcome;
      }
      reach(Fate::rejected);
      // Twice in one call is no accident: others use ports that the lane holds to be free.
      if (++attempts_ >= (strategy_ == Strategy::bind ? kLoneBinds : 0) + 2) {
        ask_attention(view_, ref);
      }
      random_ = detail::next_random(random_);
    }
    return Outcome::next_lane;
  }

  bool may_bind_another(const PortRange& range) const {
    const BoundPorts* bound = view_.bound_ports();
    const std::uint32_t most = std::max(range.size() / 2, kBoundAtLeast);
    return bound == nullptr || bound->count.load(std::memory_order_relaxed) < most;
  }

  // By bind() in a range that others need too, once the pool has bound an eighth of it: a port is
  // shared that other lanes have bound, as long as there is one. `next_port`: there is none, and
  // another may be bound.
  Outcome spare_ports(LaneRef ref, const LaneIdentity& lane, int& result) {
    BoundPorts* bound = view_.bound_ports();
    if (bound == nullptr || bound->count.load(std::memory_order_relaxed) < lane.ports.size() / 8) {
      return Outcome::next_port;
    }
    for (int i = 0; !state_.own_route && i < kSharedBinds; ++i) {
      ClaimedPort port{ref, lane.key.source, {}};
      const int number = claim_bound(view_.lane_hints(ref.index), *bound, lane.ports, random_);
      if (number < 0) break;
      random_ = detail::next_random(random_);
      if (!in_service(view_, ref)) {
        release(view_.lane_hints(ref.index), static_cast<std::uint16_t>(number));
        return Outcome::next_lane;
      }
      if (!check_port(view_.lane_info(ref.index), number, port.port)) continue;
      const Outcome outcome = try_port(port, true, result);
      if (outcome != Outcome::next_port) return outcome;
      ++attempts_;
    }
    if (may_bind_another(lane.ports)) return Outcome::next_port;
    reach(Fate::half_bound);
    return Outcome::next_lane;
  }

  // By bind() a port that cannot be had alone stays free, for a socket that shares it: others of
  // its parity would be offered for ever, though the other parity has some that nobody uses.
  Parity preferred() const {
    const Parity first = first_parity(view_);
    return strategy_ == Strategy::bind && attempts_ % kLoneBinds >= kLoneBinds / 2 ? other(first)
                                                                                   : first;
  }

  // By bind() a TIME_WAIT is taken over whatever tcp_tw_reuse says and however young it is, and
  // when the kernel refuses it after all (without timestamps) the socket stays bound. So only where
  // the program is about to be told that there is no port.
  Claim claim_from(ClaimedPort& port) {
    if (strategy_ != Strategy::bind) {
      return claim_port(view_, port.lane, Offer::any, preferred(), random_, port.port);
    }
    const Claim claimed =
        claim_port(view_, port.lane, Offer::free, preferred(), random_, port.port);
    if (claimed != Claim::empty || sharing_ != Sharing::allowed) return claimed;
    port.standing = Standing::waiting;
    return claim_port(view_, port.lane, Offer::reusable, preferred(), random_, port.port);
  }

  TupleUse use_of(const ClaimedPort& port, const TupleQuestions& questions) const {
    return questions.ask({port.source, port.port.number()}, question_.endpoint());
  }

  // Before a bind() that meets no conflict: the connect() would, on a socket that stays bound.
  // False also when nothing is known: then the lane is believed.
  bool is_taken(const ClaimedPort& port) const {
    if (port.standing == Standing::unused) return false;
    const TupleUse use = use_of(port, TupleQuestions());
    return use == TupleUse::used ||
           (use == TupleUse::reusable && port.standing != Standing::waiting);
  }

  // A lane that has nothing to offer may be behind: a port that was rejected or given back a moment
  // ago stays out until poold has looked. The kernel's own choice would know better, but passes
  // over it for being bound.
  Outcome share_withheld(LaneRef ref, const LaneIdentity& lane, int& result) {
    std::uint32_t left = kWithheld;
    for (const PortMapId id : {PortMapId::rejected, PortMapId::quarantine}) {
      const PortMap map = port_map(view_.lane_hints(ref.index), id);
      for (std::uint32_t step = 0;;) {
        ClaimedPort port{ref, lane.key.source, {}, Standing::unused};
        if (!take_unused(map, lane.ports, step, left, port)) break;
        const Outcome outcome = try_port(port, true, result);
        if (outcome != Outcome::next_port) return outcome;
      }
    }
    return Outcome::next_lane;
  }

  // The next port of `map` that nobody uses toward the destination; at most `left` are asked for.
  // Steps through the range, so that none is asked for twice.
  bool take_unused(PortMap map, const PortRange& range, std::uint32_t& step, std::uint32_t& left,
                   ClaimedPort& port) const {
    if (range.empty() || map.top.load(std::memory_order_relaxed) == 0) return false;
    const TupleQuestions questions;
    const std::uint32_t size = range.size();
    const auto start = static_cast<std::uint32_t>(random_ >> 32) % size;
    while (step < size && left > 0) {
      const auto number = static_cast<std::uint16_t>(range.low + (start + step++) % size);
      if (!remove_port(map, number)) continue;
      --left;
      // The place may be another lane's by now.
      if (in_service(view_, port.lane) &&
          check_port(view_.lane_info(port.lane.index), number, port.port) &&
          use_of(port, questions) == TupleUse::none) {
        return true;
      }
      put_port(map, number);
    }
    return false;
  }

  PinResult pin(const ClaimedPort& claimed, bool shared) {
    const Port port = claimed.port;
    if (strategy_ == Strategy::bind) {
      if (shared && is_taken(claimed)) return PinResult::taken;
      const PinTarget target{call_.fd, call_.family(), port, source_, shared, reuse_is_set_};
      touched_ = true;
      reuse_is_set_ = shared;
      const PinResult result = pinning_.pin(target);
      BoundPorts* bound = view_.bound_ports();
      if (result == PinResult::done && bound != nullptr) note_bound(*bound, port.number());
      return result;
    }
    touched_ = true;
    if (names_sources() && !bind_to_source()) return PinResult::no_source;
    return pinning_.pin({call_.fd, call_.family(), port, {}});
  }

  bool bind_to_source() {
    if (state_.pool_source && source_ == bound_source_) return true;
    const bool bound = bind_source(call_.fd, call_.family(), source_);
    // Also after a failure: the kernel may have noted that the address is the program's.
    state_.pool_source = true;
    bound_source_ = bound ? source_ : Address{};
    return bound;
  }

  // One claimed port; by bind() alone or, with `may_share` or when others have it, shared. On
  // `finished` the call's result is in `result` and errno.
  Outcome try_port(const ClaimedPort& port, bool may_share, int& result) {
    PORTPOOL_CRASH_POINT(after_claim);
    const bool shared = may_share || port.standing != Standing::free;
    const PinResult pinned = pin(port, shared);
    if (pinned != PinResult::done) {
      // A port that only cannot be had alone is as free as before.
      const bool rejected = pinned == PinResult::taken && shared;
      give_back(view_, port.lane, port.port.number(), rejected ? Release::rejected : Release::free);
      if (pinned == PinResult::taken) return Outcome::next_port;
      if (pinned == PinResult::no_source) return without_source();
      reach(Fate::pin_failed);
      return Outcome::no_lane;
    }
    hold(port.lane, port.port);
    // Before the call: a thread cancelled in it leaves the port to close().
    set_socket_state(call_.fd, state_);
    PORTPOOL_CRASH_POINT(before_connect);
    result = real().connect(call_.fd, call_.address, call_.length);
    const int error = errno_of(result);
    PORTPOOL_CRASH_POINT(after_connect);
    if (!state_.stuck) {
      if (error == EADDRNOTAVAIL) return let_go(Release::rejected, Outcome::next_port);
      if (names_sources() && is_source_error(error)) {
        return let_go(Release::free, without_source());
      }
    }
    finish(error);
    return Outcome::finished;
  }

  void hold(LaneRef ref, Port port) {
    state_.lane = ref.pack();
    state_.port = port.number();
    state_.pinned = true;
    state_.started = true;
    state_.stuck = strategy_ == Strategy::bind;
  }

  Outcome let_go(Release how, Outcome outcome) {
    give_back(state_, how);
    state_.forget_port();
    state_.started = false;
    return outcome;
  }

  Outcome without_source() {
    reach(Fate::source_failed);
    return now_ns() - call_.start_ns > kAtOnceNs ? Outcome::no_lane : Outcome::next_lane;
  }

  // The call has its result, of which the program is told.
  void finish(int error) {
    record_call(call_, state_, Route::pool, error);
    if (error == EADDRNOTAVAIL) {
      // Bound for good to a port that is in use toward this destination: only the program can start
      // anew.
      give_back(state_, Release::rejected);
      state_.forget_port();
    }
    if (error == EISCONN || error == EALREADY) {
      // Connected behind our back: the port that it has is not ours.
      give_back(state_, Release::free);
      state_.forget_port();
      state_.stuck = false;
      const ErrnoKeeper keep;
      if (strategy_ == Strategy::port_range) {
        pinning_.unpin(call_.fd);
      } else {
        restore_after_bind(call_.fd, call_.family(), state_.own_reuse, nullptr);
      }
      set_socket_state(call_.fd, state_);
    } else if (!is_under_way(error)) {
      end_attempt(call_.fd, call_.family(), state_);
    } else if (is_looked_at() && !went_by_lane()) {
      // Its port is another lane's affair.
      give_back(state_, Release::free);
      state_.forget_port();
      set_socket_state(call_.fd, state_);
    }
  }

  bool is_looked_at() const {
    return attempts_ > 0 || question_.by == SourceBy::asking || random_ >> kLookShift == 0;
  }

  bool went_by_lane() const {
    LaneIdentity lane;
    if (!read_lane(view_, state_.lane_ref(), lane)) return true;
    const Ends ends = ends_of(call_.fd, lane.key, attempts_ >= kDoubtfulAttempts);
    note_ends(ends, view_, state_.lane_ref(), question_.by);
    return ends == Ends::of_lane;
  }

  // Whether the socket is sure to leave from the source of its lanes, so that what they say holds
  // for it.
  bool stays(Miss& miss, Address& source) const {
    if (question_.by == SourceBy::route) {
      Address learned;
      if (process_routes() == Routes::unforeseeable ||
          !learn_source(call_.fd, question_.endpoint(), learned)) {
        return false;
      }
      LaneIdentity lane;
      if (!read_lane(view_, question_.choice.lanes[0], lane)) return false;
      if (lane.key.source != learned) {
        source = learned;
        return false;
      }
    }
    miss.lane = question_.choice.lanes[0];
    miss.by = question_.by;
    return process_routes() != Routes::unforeseeable || question_.by != SourceBy::asking;
  }

  // Nothing is free, by the kernel's own table, in every lane; and it is not this call's turn to
  // ask the kernel whether that is still so.
  bool fails_fast(Miss& miss) {
    if ((question_.choice.flags & EntryFlags::fail_fast) == 0) return false;
    for (std::uint32_t i = 0; i < question_.choice.count; ++i) {
      const LaneRef ref = question_.choice.lanes[i];
      const std::uint32_t full = view_.lane_info(ref.index).full.load(std::memory_order_relaxed);
      const LaneHints& hints = view_.lane_hints(ref.index);
      if (!in_service(view_, ref) || full == 0 ||
          hints.relieved.load(std::memory_order_relaxed) == full) {
        return false;
      }
    }
    LaneHints& lane = view_.lane_hints(question_.choice.lanes[0].index);
    std::uint64_t due = lane.next_probe_ns.load(std::memory_order_relaxed);
    // A time further away than a pause was not set by a call like this one.
    const bool is_due = call_.start_ns >= due || due > call_.start_ns + 2 * kProbePauseNs;
    if (is_due && lane.next_probe_ns.compare_exchange_strong(due, call_.start_ns + kProbePauseNs,
                                                             std::memory_order_relaxed)) {
      miss.probes = true;
      return false;
    }
    return true;
  }

  // Leaves port and address to the kernel again.
  void undo() {
    if (touched_ && strategy_ == Strategy::port_range) {
      pinning_.unpin(call_.fd);
    } else if (touched_) {
      restore_after_bind(call_.fd, call_.family(), state_.own_reuse,
                         state_.has_source ? &question_.key.source : nullptr);
    }
    if (state_.pool_source) unbind_source(call_.fd, call_.family());
    set_socket_state(call_.fd, state_);
  }

  const Call& call_;
  SocketState& state_;
  const SegmentView& view_;
  const Question& question_;
  const Sharing sharing_;
  const Strategy strategy_;
  const PinStrategy& pinning_;
  std::uint64_t random_;
  Address source_{};        // to bind; unspecified: none
  Address bound_source_{};  // bound already, without a port
  int attempts_ = 0;
  std::uint16_t promised_;  // is tried first; 0: none
  bool may_share_ = false;
  bool reuse_is_set_;
  bool touched_ = false;  // the socket, by an attempt to pin it
  Fate fate_ = Fate::no_lane;
};

}  // namespace

bool connect_by_pool(const Call& call, SocketState& state, const SegmentView& view, Sharing sharing,
                     int& result, Miss& miss) {
  Question question;
  if (!ask_for_lanes(call, state, view, question, miss.why)) return false;
  Address source;
  if (PoolCall(call, state, view, question, sharing).run(result, miss, source)) return true;
  if (is_unspecified(source)) return false;
  note_other_source(false);
  return ask_for_lanes_of(source, view, question, miss.why) &&
         PoolCall(call, state, view, question, sharing).run(result, miss, source);
}

void keep_lane(const Call& call, const SocketState& state, const SegmentView& view) {
  LaneKey key;
  LaneChoice choice;
  if (state.own_range || !key_of(call, state, key)) return;
  if (!find_lanes(view, key, choice)) {
    request_lane(view, key);
  } else if (choice.count > 0) {
    LaneHints& hints = view.lane_hints(choice.lanes[0].index);
    mark_used(view, hints);
    count_connect(hints, random_at(call.start_ns));
  }
}

bool connect_after_kernel(const Call& call, SocketState& state, const SegmentView& view,
                          int& result) {
  for (int turn = 0; turn < kLaneTurns; ++turn) {
    Miss miss;
    if (connect_by_pool(call, state, view, Sharing::allowed, result, miss)) return true;
    if (miss.why != FallbackReason::k_no_lane) break;
    const timespec pause{0, kLaneTurnNs};
    system_call(SYS_nanosleep, &pause, nullptr);
  }
  return false;
}

void learn_from_kernel(const Call& call, const SegmentView& view, const Miss& miss) {
  const ErrnoKeeper keep;
  LaneIdentity lane;
  if (!read_lane(view, miss.lane, lane)) return;
  const Ends ends = ends_of(call.fd, lane.key, miss.why == FallbackReason::k_rejected);
  note_ends(ends, view, miss.lane, miss.by);
  // From another source the lane may be as full as before. (Where the pool names sources, the
  // kernel's is always another, and a way out all the same.)
  if (!miss.probes || (ends == Ends::other_source && miss.by != SourceBy::pool)) return;
  LaneHints& hints = view.lane_hints(miss.lane.index);
  hints.relieved.store(view.lane_info(miss.lane.index).full.load(std::memory_order_relaxed),
                       std::memory_order_relaxed);
  ask_attention(view, miss.lane);
}

int connect_stuck(const Call& call, SocketState& state) {
  state.started = true;
  set_socket_state(call.fd, state);
  const int result = real().connect(call.fd, call.address, call.length);
  const int error = errno_of(result);
  record_call(call, state, Route::pool, error);
  if (!is_under_way(error)) end_attempt(call.fd, call.family(), state);
  return result;
}

}  // namespace portpool::shim
