#include "doctor/census.h"

#include <netinet/tcp.h>

#include <algorithm>
#include <string>
#include <unordered_map>

#include "doctor/check.h"
#include "doctor/peer_timestamps.h"

namespace portpool::doctor {
namespace {

constexpr std::uint32_t kUnconnected =
    kernel::state_bit(TCP_LISTEN) | kernel::state_bit(kernel::kTcpBoundInactive);

class Counter {
 public:
  Counter(Census& census, const CensusRules& rules) : census_(census), rules_(rules) {}

  void add_unconnected(const kernel::SocketRecord& socket) {
    count(socket);
    const bool listens = socket.state == TCP_LISTEN;
    (listens ? census_.listeners : census_.bound).push_back({socket.local, socket.inode});
    taken_.set(socket.local.port);
    if (listens) census_.listening.set(socket.local.port);
  }

  void make_plan() { census_.plan = doctor::make_plan(rules_.range, rules_.reserved, taken_); }

  void add_connected(const kernel::SocketRecord& socket) {
    count(socket);
    // A port that is listened on belongs to a server's side of a connection.
    const bool outgoing = census_.plan.in_range(socket.local.port) &&
                          !census_.listening[socket.local.port] && socket.state != TCP_SYN_RECV;
    if (outgoing) add_outgoing(socket);
    if (socket.state == TCP_FIN_WAIT1 || socket.state == TCP_LAST_ACK ||
        socket.state == TCP_CLOSING) {
      add_closing(socket, outgoing);
    }
  }

 private:
  void count(const kernel::SocketRecord& socket) {
    ++census_.sockets;
    ++census_.states[socket.state % kStates];
  }

  void add_outgoing(const kernel::SocketRecord& socket) {
    const LaneKey key{socket.local.address, socket.remote.address, socket.remote.port};
    const auto [place, added] =
        index_.try_emplace(key, static_cast<std::uint32_t>(census_.lanes.size()));
    if (added) {
      census_.lanes.emplace_back();
      census_.lanes.back().source = socket.local.address;
      census_.lanes.back().destination = socket.remote;
    }
    const PortPlan& plan = census_.plan;
    Lane& lane = census_.lanes[place->second];
    ++lane.sockets;
    ++lane.states[socket.state % kStates];
    const bool first = plan.tried_first(socket.local.port);
    if (!first) ++lane.other_parity;
    if (socket.state == TCP_TIME_WAIT && kernel::kTimeWaitMs - socket.timer_ms < kRecentMs) {
      ++lane.recent_waits;
    }
    if (socket.state == TCP_SYN_SENT && socket.retries > 0) ++lane.unanswered;
    if (rules_.reuse.allows(socket)) {
      ++lane.reusable;
      if (plan.is_usable[socket.local.port]) {
        ++lane.reusable_usable;
        if (first) ++lane.reusable_first;
      }
    } else if (plan.is_usable[socket.local.port]) {
      ++lane.held;
      if (first) ++lane.held_first;
    }
    census_.outgoing.push_back({place->second, socket.inode, socket.local.port, socket.state});
  }

  void add_closing(const kernel::SocketRecord& socket, bool outgoing) {
    const Endpoint peer{socket.remote.address, outgoing ? socket.remote.port : std::uint16_t{0}};
    const auto [place, added] =
        closing_index_.try_emplace({{}, peer.address, peer.port}, census_.closing.size());
    if (added) census_.closing.push_back({.peer = peer});
    ClosingPeer& found = census_.closing[place->second];
    ++(socket.state == TCP_FIN_WAIT1  ? found.fin_wait1
       : socket.state == TCP_LAST_ACK ? found.last_ack
                                      : found.closing);
    if (socket.inode == 0) ++found.orphans;
    if (socket.retries > 0) ++found.unanswered;
  }

  Census& census_;
  const CensusRules& rules_;
  PortSet taken_;
  std::unordered_map<LaneKey, std::uint32_t, KeyHash> index_;
  std::unordered_map<LaneKey, std::size_t, KeyHash> closing_index_;
};

// Sorts the lanes, and keeps the sockets pointing to theirs.
void sort_lanes(Census& census) {
  std::vector<std::uint32_t> order(census.lanes.size());
  for (std::uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
    const Lane& left = census.lanes[a];
    const Lane& right = census.lanes[b];
    return left.held != right.held ? left.held > right.held : left.sockets > right.sockets;
  });
  std::vector<std::uint32_t> place(order.size());
  std::vector<Lane> sorted;
  sorted.reserve(order.size());
  for (std::uint32_t i = 0; i < order.size(); ++i) {
    place[order[i]] = i;
    sorted.push_back(census.lanes[order[i]]);
  }
  census.lanes = std::move(sorted);
  for (OutgoingSocket& socket : census.outgoing) socket.lane = place[socket.lane];
}

}  // namespace

Census take_census(kernel::SockDiag& sock_diag, const CensusRules& rules,
                   std::uint16_t destination_port) {
  Census census;
  Counter counter(census, rules);
  census.bound_listed = sock_diag.lists_bound_inactive();
  // The ports that servers listen on must be known before connections can be told apart. States
  // that are not asked for cost nothing, so that the two dumps together take as long as one.
  const auto unconnected = [&](const kernel::SocketRecord& s) { counter.add_unconnected(s); };
  const auto connected = [&](const kernel::SocketRecord& s) { counter.add_connected(s); };
  kernel::DumpFilter filter;
  filter.states = kUnconnected;
  census.complete = sock_diag.dump(filter, unconnected).complete;
  counter.make_plan();
  filter.states = kernel::kAllStates & ~kUnconnected;
  filter.destination_port = destination_port;
  census.complete = sock_diag.dump(filter, connected).complete && census.complete;
  find_peer_timestamps(census, sock_diag);
  sort_lanes(census);
  std::sort(census.closing.begin(), census.closing.end(),
            [](const ClosingPeer& a, const ClosingPeer& b) { return a.total() > b.total(); });
  return census;
}

const char* name_of_state(std::size_t state) {
  static constexpr std::array<const char*, kStates> kNames{
      "?",         "ESTAB", "SYN-SENT",   "SYN-RECV", "FIN-WAIT-1", "FIN-WAIT-2",
      "TIME-WAIT", "CLOSE", "CLOSE-WAIT", "LAST-ACK", "LISTEN",     "CLOSING",
      "SYN-RECV",  "BOUND", "?",          "?"};
  return kNames[state % kStates];
}

std::string states_text(const StateCounts& states) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < kStates; ++i) {
    if (states[i] != 0) order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return states[a] > states[b]; });
  std::string text;
  for (const std::size_t i : order) {
    text += (text.empty() ? "" : ", ") + count_text(states[i]) + " " + name_of_state(i);
  }
  return text;
}

}  // namespace portpool::doctor
