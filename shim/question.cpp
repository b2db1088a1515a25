#include "shim/question.h"

#include "shim/lanes.h"
#include "shim/route.h"

namespace portpool::shim {
namespace {

FallbackReason why_refused(std::uint32_t flags) {
  if ((flags & EntryFlags::rewritten) != 0) return FallbackReason::k_rewritten;
  if ((flags & EntryFlags::no_pool) != 0) return FallbackReason::k_no_pool;
  if ((flags & EntryFlags::no_source) != 0) return FallbackReason::k_no_source;
  return FallbackReason::k_lane_refused;
}

bool find_or_request(const SegmentView& view, Question& question, FallbackReason& why) {
  if (!find_lanes(view, question.key, question.choice)) {
    request_lane(view, question.key);
    why = FallbackReason::k_no_lane;
    return false;
  }
  why = why_refused(question.choice.flags);
  return question.choice.count > 0;
}

// Mark or device, whoever gave it them. Where the pool names sources, a wrong answer would take the
// socket away from its own route: so options that nobody saw being set count, too.
bool goes_its_own_way(const Call& call, const SocketState& state, SourceBy by) {
  return state.own_route || (by == SourceBy::pool && has_own_route(call.fd));
}

}  // namespace

bool key_of(const Call& call, const SocketState& state, LaneKey& key) {
  key = {{}, call.destination.address, call.destination.port};
  if (state.has_source) {
    OwnAddress own;
    if (!own_address(call.fd, own)) return false;
    key.source = own.endpoint.address;
  }
  // To an unspecified address means to this host (tcp_v4_connect, tcp_v6_connect); from a bound
  // socket it means to that socket's own address, which nobody does.
  if (is_unspecified(key.destination) && !state.has_source) {
    key.destination = loopback_like(key.destination);
  }
  return !is_unspecified(key.destination) && !is_link_local_v6(key.destination);
}

bool ask_for_lanes(const Call& call, const SocketState& state, const SegmentView& view,
                   Question& question, FallbackReason& why) {
  if (state.own_range) {
    why = FallbackReason::k_own_port_range;
    return false;
  }
  if (!key_of(call, state, question.key)) {
    why = FallbackReason::k_unusual_address;
    return false;
  }
  question.by = state.has_source ? SourceBy::program : SourceBy::route;
  // What poold was told of the route is of no use to a socket that has its own.
  if (state.has_source || !state.own_route) {
    if (!find_or_request(view, question, why)) return false;
    if (state.has_source) return true;
    if ((question.choice.flags & EntryFlags::bind_source) != 0) question.by = SourceBy::pool;
  }
  const bool own_way = goes_its_own_way(call, state, question.by);
  const bool asks = question.by == SourceBy::route && process_routes() == Routes::own;
  if (!own_way && !asks) return true;
  Address source;
  if (learn_source(call.fd, question.endpoint(), source)) {
    return ask_for_lanes_of(source, view, question, why);
  }
  why = FallbackReason::k_own_route;
  return !own_way;
}

bool ask_for_lanes_of(const Address& source, const SegmentView& view, Question& question,
                      FallbackReason& why) {
  question.key.source = source;
  question.by = SourceBy::asking;
  return find_or_request(view, question, why);
}

}  // namespace portpool::shim
