#include "doctor/peer_timestamps.h"

#include <unordered_map>
#include <vector>

namespace portpool::doctor {
namespace {

constexpr std::uint32_t kMatters = 20;  // one part in

struct Seen {
  std::uint32_t with = 0;
  std::uint32_t without = 0;

  PeerTimestamps answer() const {
    if ((with == 0) == (without == 0)) return PeerTimestamps::unknown;
    return with != 0 ? PeerTimestamps::yes : PeerTimestamps::no;
  }
};

// By far side; port 0: any.
using Sightings = std::unordered_map<LaneKey, Seen, KeyHash>;

LaneKey key_of(const Address& address, std::uint16_t port) { return {{}, address, port}; }

bool matters(const Lane& lane, const PortPlan& plan) {
  return lane.reusable_usable != 0 && lane.reusable_usable * kMatters >= plan.usable;
}

bool is_this_host(const Lane& lane) {
  return is_loopback(lane.destination.address) || lane.source == lane.destination.address;
}

Sightings look(kernel::SockDiag& sock_diag) {
  Sightings sightings;
  kernel::DumpFilter filter;
  filter.tcp_info = true;
  filter.states = kernel::kConnectedStates;
  sock_diag.dump(filter, [&](const kernel::SocketRecord& socket) {
    if (!socket.timestamps) return;
    for (const std::uint16_t port : {socket.remote.port, std::uint16_t{0}}) {
      Seen& seen = sightings[key_of(socket.remote.address, port)];
      ++(*socket.timestamps ? seen.with : seen.without);
    }
  });
  return sightings;
}

PeerTimestamps answer_for(const Endpoint& destination, const Sightings& sightings) {
  for (const std::uint16_t port : {destination.port, std::uint16_t{0}}) {
    const auto found = sightings.find(key_of(destination.address, port));
    if (found != sightings.end()) return found->second.answer();
  }
  return PeerTimestamps::unknown;
}

}  // namespace

void find_peer_timestamps(Census& census, kernel::SockDiag& sock_diag) {
  std::vector<Lane*> asked;
  for (Lane& lane : census.lanes) {
    if (!matters(lane, census.plan)) continue;
    // Here they are on: else nothing would count as reusable.
    if (is_this_host(lane)) {
      lane.peer = PeerTimestamps::yes;
    } else {
      asked.push_back(&lane);
    }
  }
  if (asked.empty()) return;
  const Sightings sightings = look(sock_diag);
  for (Lane* lane : asked) {
    const PeerTimestamps answer = answer_for(lane->destination, sightings);
    if (answer == PeerTimestamps::no) *lane = without_reuse(*lane);
    lane->peer = answer;
  }
}

Lane without_reuse(Lane lane) {
  lane.held += lane.reusable_usable;
  lane.held_first += lane.reusable_first;
  lane.reusable = lane.reusable_usable = lane.reusable_first = 0;
  lane.peer = PeerTimestamps::no;
  return lane;
}

}  // namespace portpool::doctor
