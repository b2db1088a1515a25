#include "unit/lanes/lane_model.h"

#include <netinet/tcp.h>

#include "base/address_text.h"

namespace portpool::test {
namespace {

// As sock_diag would describe it, with tcp_tw_reuse=1.
kernel::SocketRecord record_of(const LaneKey& key, std::uint16_t port, Socket socket) {
  kernel::SocketRecord record;
  record.local = {key.source, port};
  record.remote = {key.destination, key.destination_port};
  record.state = socket == Socket::used ? TCP_ESTABLISHED : TCP_TIME_WAIT;
  switch (socket) {
    case Socket::waiting:
      record.timer_ms = 59'500;
      break;
    case Socket::reusable2:
      record.timer_ms = 58'000;
      break;
    case Socket::reusable1:
      record.timer_ms = 50'000;
      break;
    case Socket::reusable0:
      record.timer_ms = 30'000;
      break;
    default:
      break;
  }
  return record;
}

const char* name_of_map(std::size_t map) {
  constexpr const char* kNames[kPortMaps] = {"free",     "free",   "free",   "free",
                                             "reuse0",   "reuse1", "reuse2", "quarantine",
                                             "rejected", "blocked"};
  return kNames[map];
}

}  // namespace

LaneModel::LaneModel(std::uint16_t low, std::uint16_t high) : sockets_(kPorts) {
  record_.key = {*parse_address("10.0.0.1"), *parse_address("10.0.0.2"), 443};
  record_.range = {low, high};
}

void LaneModel::block(std::uint16_t port, bool on) {
  if (on) {
    blocked_.bits[word_of_port(port)] |= bit_of_port(port);
    blocked_set_.insert(port);
  } else {
    blocked_.bits[word_of_port(port)] &= ~bit_of_port(port);
    blocked_set_.erase(port);
  }
}

void LaneModel::fill() {
  begin();
  dump(low(), high());
  fill_lane(*lane_, record_, *truth_.find(record_.key), blocked_);
}

void LaneModel::begin() {
  truth_.begin({1, 1000});
  truth_.expect({record_.key, record_.ref, record_.range, claims_}, *lane_);
}

void LaneModel::dump(std::uint16_t from, std::uint16_t to) {
  for (std::uint32_t port = from; port <= to; ++port) {
    const auto p = static_cast<std::uint16_t>(port);
    if (sockets_[p] != Socket::none) truth_.add(record_of(record_.key, p, sockets_[p]));
  }
}

LaneChanges LaneModel::finish() {
  return update_lane(*lane_, record_, *truth_.find(record_.key), blocked_);
}

LaneChanges LaneModel::reconcile() {
  begin();
  dump(low(), high());
  return finish();
}

LaneChanges LaneModel::reconcile_only(const std::set<std::uint16_t>& ports) {
  begin();
  PortBits only = {};
  for (const std::uint16_t port : ports) {
    only[word_of_port(port)] |= bit_of_port(port);
    dump(port, port);
  }
  return update_ports(*lane_, record_, *truth_.find(record_.key), blocked_, only);
}

std::string LaneModel::place(std::uint16_t port) {
  std::string places;
  for (std::size_t map = 0; map < kPortMaps; ++map) {
    if (!has_port(port_map(*lane_, map_id(map)), port)) continue;
    places += (places.empty() ? "" : "+") + std::string(name_of_map(map));
  }
  return places;
}

std::string LaneModel::right_place(std::uint16_t port) const {
  if (blocked(port)) return "blocked";
  switch (sockets_[port]) {
    case Socket::none:
      return "free";
    case Socket::used:
      return "";
    case Socket::waiting:
      return "quarantine";
    case Socket::reusable2:
      return "reuse2";
    case Socket::reusable1:
      return "reuse1";
    case Socket::reusable0:
      return "reuse0";
  }
  return "?";
}

std::vector<std::string> LaneModel::misplaced() {
  std::vector<std::string> found;
  for (std::uint32_t port = low(); port <= high(); ++port) {
    const auto p = static_cast<std::uint16_t>(port);
    if (place(p) != right_place(p)) {
      found.push_back(std::to_string(port) + " stands in \"" + place(p) + "\", not in \"" +
                      right_place(p) + "\"");
    }
  }
  return found;
}

}  // namespace portpool::test
