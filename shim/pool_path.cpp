#include "shim/pool_path.h"

#include <ctime>

#include "portpool/endpoint.h"
#include "portpool/port_map.h"
#include "shim/attach.h"
#include "shim/lanes.h"
#include "shim/process.h"
#include "shim/real.h"
#include "shim/record.h"
#include "shim/strategy.h"

namespace portpool::shim {
namespace {

// Lanes in which this many claims in a row are refused are wrong as a whole, and will be
// reconciled; 16 refusals cost about 10 us, a tenth of what the kernel's search costs past its
// cliff.
constexpr int kMaxAttempts = 16;
// By bind(): ports tried for one that nobody else has, before one is shared.
constexpr int kLoneBinds = 4;
// How long a call waits for a lane where only that can save it.
constexpr int kLaneTurns = 20;
constexpr long kLaneTurnNs = 1'000'000;
// Under fail-fast, how often the kernel is asked all the same whether nothing is free.
constexpr std::uint64_t kProbePauseNs = 10'000'000;
// A time to come that is further away than this was not set by this boot's clock.
constexpr std::uint64_t kSaneProbeNs = 1'000'000'000;

enum class Outcome { finished, rejected, unsupported };

void mark_used(const SegmentView& view, Lane& lane) {
  const std::uint64_t beat = view.header().heartbeat.load(std::memory_order_relaxed);
  if (lane.last_used_beat.load(std::memory_order_relaxed) != beat) {
    lane.last_used_beat.store(beat, std::memory_order_relaxed);
  }
}

class PoolCall {
 public:
  PoolCall(const Call& call, SocketState& state, const SegmentView& view, const LaneChoice& choice,
           Strategy strategy)
      : call_(call),
        state_(state),
        view_(view),
        choice_(choice),
        strategy_(strategy),
        pinning_(pin_strategy(strategy)),
        random_(random_at(call.start_ns)) {}

  bool run(int& result, FallbackReason& why) {
    why = FallbackReason::k_lane_full;
    const std::uint32_t first = (choice_.flags & EntryFlags::balance) != 0
                                    ? static_cast<std::uint32_t>(random_ >> 40) % choice_.count
                                    : 0;
    for (std::uint32_t i = 0; i < choice_.count; ++i) {
      switch (try_lane(choice_.lanes[(first + i) % choice_.count], result)) {
        case Outcome::finished:
          return true;
        case Outcome::rejected:
          break;
        case Outcome::unsupported:
          why = FallbackReason::k_pin_failed;
          i = choice_.count;
          break;
      }
      if (attempts_ == kMaxAttempts) break;
    }
    if (why == FallbackReason::k_lane_full && attempts_ > 0) why = FallbackReason::k_rejected;
    if (why == FallbackReason::k_lane_full && fails_fast()) {
      result = -1;
      errno = EADDRNOTAVAIL;
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
  // `rejected`: the lane gave nothing, the next one may.
  Outcome try_lane(std::uint16_t index, int& result) {
    Lane& lane = view_.lane(index);
    mark_used(view_, lane);
    while (attempts_ < kMaxAttempts) {
      const int port = claim(lane, random_);
      if (port < 0 || lane.low.load(std::memory_order_relaxed) != 0 || free_is_empty(lane)) {
        ask_attention(view_, lane);
      }
      if (port < 0) {
        lane.exhausted.fetch_add(1, std::memory_order_relaxed);
        return Outcome::rejected;
      }
      state_.lane = index;
      state_.port = static_cast<std::uint16_t>(port);
      state_.epoch = attach_epoch();
      const Outcome outcome = try_port(lane, result);
      if (outcome != Outcome::rejected) return outcome;
      // Twice in one call is no accident: others use ports that the lane holds to be free.
      if (++attempts_ >= (strategy_ == Strategy::bind ? kLoneBinds : 0) + 2) {
        ask_attention(view_, lane);
      }
      random_ = detail::next_random(random_);
    }
    return Outcome::rejected;
  }

  PinResult pin(const Lane& lane) {
    PinTarget target{call_.fd, call_.family(), {}, state_.port};
    if (strategy_ == Strategy::bind) {
      target.source = bound_source_ = load_key(lane.key).source;
      target.shared = attempts_ >= kLoneBinds;
      target.reuse_is_set = attempts_ > kLoneBinds || (attempts_ == 0 && state_.own_reuse);
    } else if ((choice_.flags & EntryFlags::bind_source) != 0 && !state_.has_source &&
               !bind_to_source(load_key(lane.key).source)) {
      return PinResult::unsupported;
    }
    return pinning_.pin(target);
  }

  bool bind_to_source(const Address& source) {
    if (state_.pool_source && source == bound_source_) return true;
    if (!bind_source(call_.fd, call_.family(), source)) return false;
    state_.pool_source = true;
    bound_source_ = source;
    return true;
  }

  // One claimed port. On `finished` the call's result is in `result` and errno.
  Outcome try_port(const Lane& lane, int& result) {
    const PinResult pinned = pin(lane);
    if (pinned != PinResult::done) {
      const bool taken = pinned == PinResult::taken;
      // A port that only cannot be had alone is as free as before.
      const bool rejected = taken && attempts_ >= kLoneBinds;
      give_back(view_, state_.lane, state_.port, rejected ? Release::rejected : Release::free);
      return taken ? Outcome::rejected : Outcome::unsupported;
    }
    range_set_ = true;
    state_.pinned = true;
    state_.started = true;
    state_.stuck = strategy_ == Strategy::bind;
    // Before the call: a thread cancelled in it leaves the port to close().
    set_socket_state(call_.fd, state_);
    result = real().connect(call_.fd, call_.address, call_.length);
    const int error = errno_of(result);
    if (error == EADDRNOTAVAIL && !state_.stuck) {
      give_back(view_, state_.lane, state_.port, Release::rejected);
      state_.pinned = false;
      state_.started = false;
      return Outcome::rejected;
    }
    record_call(call_, state_, Route::pool, error);
    if (error == EADDRNOTAVAIL) {
      // Bound for good to a port that is in use toward this destination: only the program can start
      // anew.
      give_back(view_, state_.lane, state_.port, Release::rejected);
      state_.pinned = false;
    }
    if (error == EISCONN || error == EALREADY) {
      // Connected behind our back: the port that it has is not ours.
      give_back(view_, state_.lane, state_.port, Release::free);
      state_.pinned = false;
      state_.stuck = false;
      set_socket_state(call_.fd, state_);
    } else if (!is_under_way(error)) {
      end_attempt(call_.fd, call_.family(), state_);
    }
    return Outcome::finished;
  }

  // Nothing is free, by fresh kernel truth, in every lane; and it is not this call's turn to ask
  // the kernel whether that is still so.
  bool fails_fast() {
    if ((choice_.flags & EntryFlags::fail_fast) == 0) return false;
    for (std::uint32_t i = 0; i < choice_.count; ++i) {
      if (view_.lane(choice_.lanes[i]).full.load(std::memory_order_relaxed) == 0) return false;
    }
    Lane& lane = view_.lane(choice_.lanes[0]);
    std::uint64_t due = lane.next_probe_ns.load(std::memory_order_relaxed);
    const bool is_due = call_.start_ns >= due || due > call_.start_ns + kSaneProbeNs;
    return !(is_due && lane.next_probe_ns.compare_exchange_strong(
                           due, call_.start_ns + kProbePauseNs, std::memory_order_relaxed));
  }

  // Leaves port and address to the kernel again.
  void undo() {
    if (range_set_) pinning_.unpin(call_.fd);
    if (strategy_ == Strategy::bind && attempts_ > 0) {
      restore_after_bind(call_.fd, call_.family(), state_.own_reuse,
                         state_.has_source ? &bound_source_ : nullptr);
    }
    if (state_.pool_source) unbind_source(call_.fd, call_.family());
    if (range_set_ || attempts_ > 0) set_socket_state(call_.fd, state_);
  }

  const Call& call_;
  SocketState& state_;
  const SegmentView& view_;
  const LaneChoice& choice_;
  Strategy strategy_;
  const PinStrategy& pinning_;
  std::uint64_t random_;
  Address bound_source_{};
  int attempts_ = 0;
  bool range_set_ = false;
};

// The question to the directory: which lanes may this call use?
bool lane_key(const Call& call, const SocketState& state, LaneKey& key) {
  key = {{}, call.destination.address, call.destination.port};
  if (state.has_source) {
    sockaddr_storage bound{};
    socklen_t length = sizeof bound;
    Endpoint local;
    if (real().getsockname(call.fd, reinterpret_cast<sockaddr*>(&bound), &length) != 0 ||
        !endpoint_from_sockaddr(reinterpret_cast<sockaddr*>(&bound), length, local)) {
      return false;
    }
    key.source = local.address;
  }
  // To an unspecified address means to this host (tcp_v4_connect, tcp_v6_connect); from a bound
  // socket it means to that socket's own address, which nobody does.
  if (is_unspecified(key.destination) && !state.has_source) {
    key.destination = loopback_like(key.destination);
  }
  return !is_unspecified(key.destination) && !is_link_local_v6(key.destination);
}

}  // namespace

bool connect_by_pool(const Call& call, SocketState& state, const SegmentView& view, int& result,
                     FallbackReason& why) {
  LaneKey key;
  LaneChoice choice;
  if (state.own_range) {
    why = FallbackReason::k_own_port_range;
  } else if (!lane_key(call, state, key)) {
    why = FallbackReason::k_unusual_address;
  } else if (!find_lanes(view, key, choice)) {
    request_lane(view, key);
    why = FallbackReason::k_no_lane;
  } else if (choice.count == 0) {
    why = FallbackReason::k_lane_refused;
  } else {
    return PoolCall(call, state, view, choice, strategy_in_force(view)).run(result, why);
  }
  return false;
}

void keep_lane(const Call& call, const SocketState& state, const SegmentView& view) {
  LaneKey key;
  LaneChoice choice;
  if (state.own_range || !lane_key(call, state, key)) return;
  if (!find_lanes(view, key, choice)) {
    request_lane(view, key);
  } else if (choice.count > 0) {
    mark_used(view, view.lane(choice.lanes[0]));
  }
}

bool connect_when_lane_comes(const Call& call, SocketState& state, const SegmentView& view,
                             int& result) {
  FallbackReason why = FallbackReason::k_no_lane;
  for (int turn = 0; turn < kLaneTurns; ++turn) {
    const timespec pause{0, kLaneTurnNs};
    nanosleep(&pause, nullptr);
    if (connect_by_pool(call, state, view, result, why)) return true;
    if (why != FallbackReason::k_no_lane) break;
  }
  return false;
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
