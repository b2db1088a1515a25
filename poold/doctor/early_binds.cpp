#include "doctor/early_binds.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

namespace portpool::doctor {
namespace {

constexpr std::uint32_t kWorthNaming = 256;
constexpr std::uint32_t kWorthNamingOfSmall = 8;  // one usable port in

struct Source {
  EarlyBinds found;
  PortSet ports;
  PortSet telling;
  std::vector<OutgoingSocket> sockets;  // the telling ones
};

// connect() alone has not yet begun with the other parity there.
bool half_is_left(const Lane& lane, const PortPlan& plan) {
  return (lane.held_first + lane.reusable_first) * 2ULL < plan.first;
}

bool is_under_library(const Ownership& owners, const OutgoingSocket& socket) {
  const kernel::ProcessRecord* holder = owners.scan.holder_of(socket.inode);
  const BusyProcess* process = holder != nullptr ? owners.find(holder->pid) : nullptr;
  return process != nullptr && process->has_library();
}

}  // namespace

std::vector<EarlyBinds> find_early_binds(const Census& census, const Ownership& owners) {
  const PortPlan& plan = census.plan;
  std::unordered_map<LaneKey, Source, KeyHash> sources;
  for (const Lane& lane : census.lanes) ++sources[{lane.source, {}, 0}].found.destinations;
  for (const OutgoingSocket& socket : census.outgoing) {
    if (!plan.is_usable[socket.port]) continue;
    const Lane& lane = census.lanes[socket.lane];
    Source& source = sources[{lane.source, {}, 0}];
    source.ports.set(socket.port);
    // Without a holder (TIME_WAIT, orphans) nobody knows who chose the port.
    if (socket.inode == 0 || plan.tried_first(socket.port) || !half_is_left(lane, plan) ||
        is_under_library(owners, socket)) {
      continue;
    }
    source.telling.set(socket.port);
    source.sockets.push_back(socket);
  }
  std::vector<EarlyBinds> all;
  for (auto& [key, source] : sources) {
    const auto telling = static_cast<std::uint32_t>(source.telling.count());
    if (telling == 0 || telling < std::min(kWorthNaming, plan.usable / kWorthNamingOfSmall)) {
      continue;
    }
    source.found.source = key.source;
    source.found.ports = static_cast<std::uint32_t>(source.ports.count());
    source.found.telling = telling;
    source.found.usable = plan.usable;
    source.found.shares = shares_of(source.sockets, owners);
    all.push_back(std::move(source.found));
  }
  std::sort(all.begin(), all.end(),
            [](const EarlyBinds& a, const EarlyBinds& b) { return a.ports > b.ports; });
  return all;
}

}  // namespace portpool::doctor
