#include "doctor/destination.h"

#include <fmt/format.h>
#include <netdb.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <set>
#include <thread>

#include "base/address_text.h"
#include "base/error.h"
#include "base/parse_number.h"
#include "doctor/checks.h"
#include "doctor/outlook.h"
#include "kernel/routes.h"

namespace portpool::doctor {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kBetweenLooks{400};
constexpr std::chrono::milliseconds kLongLook{
    150};  // after one that took longer no second is taken

struct FreeAddresses {
  void operator()(addrinfo* list) const { ::freeaddrinfo(list); }
};

std::uint16_t port_of(std::string_view digits, const std::string& text) {
  const auto port = whole_number<std::uint16_t>(digits);
  if (!port || *port == 0) {
    throw UserError(
        fmt::format("\"{}\" has no port from 1 to 65535 at its end; write HOST:PORT, for "
                    "example 10.0.4.7:443 or [2001:db8::1]:443",
                    text));
  }
  return *port;
}

std::vector<Address> addresses_of(const std::string& host) {
  if (const auto address = parse_address(host)) return {*address};
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* raw = nullptr;
  const int error = ::getaddrinfo(host.c_str(), nullptr, &hints, &raw);
  if (error != 0) {
    throw UserError(fmt::format("host \"{}\" cannot be resolved: {}; give its address instead",
                                host, ::gai_strerror(error)));
  }
  const std::unique_ptr<addrinfo, FreeAddresses> list(raw);
  std::vector<Address> addresses;
  for (const addrinfo* entry = raw; entry != nullptr; entry = entry->ai_next) {
    Endpoint endpoint;
    if (!endpoint_from_sockaddr(entry->ai_addr, entry->ai_addrlen, endpoint)) continue;
    if (std::find(addresses.begin(), addresses.end(), endpoint.address) == addresses.end()) {
      addresses.push_back(endpoint.address);
    }
  }
  return addresses;
}

// What happened to one lane between the two looks.
struct Movement {
  double seconds = 0;  // 0: only one look
  std::uint32_t opened = 0;
  long growth = 0;  // of the ports held
};

std::set<std::uint16_t> ports_of(const Census& census, const Lane& lane) {
  std::set<std::uint16_t> ports;
  for (const OutgoingSocket& socket : census.outgoing) {
    const Lane& other = census.lanes[socket.lane];
    if (other.source == lane.source && other.destination == lane.destination &&
        socket.state != TCP_TIME_WAIT) {
      ports.insert(socket.port);
    }
  }
  return ports;
}

const Lane* find_lane(const Census& census, const Lane& wanted) {
  for (const Lane& lane : census.lanes) {
    if (lane.source == wanted.source && lane.destination == wanted.destination) return &lane;
  }
  return nullptr;
}

Movement movement_of(const Census& before, const Census& now, const Lane& lane, double seconds) {
  Movement movement{seconds, 0, 0};
  if (seconds <= 0) return movement;
  const Lane* earlier = find_lane(before, lane);
  movement.growth = static_cast<long>(lane.held) - (earlier != nullptr ? earlier->held : 0);
  const std::set<std::uint16_t> old = ports_of(before, lane);
  for (const std::uint16_t port : ports_of(now, lane)) {
    if (!old.contains(port)) ++movement.opened;
  }
  return movement;
}

std::string duration_text(double seconds) {
  if (seconds < 120) return fmt::format("{:.0f} s", seconds);
  if (seconds < 7200) return fmt::format("{:.0f} min", seconds / 60);
  return fmt::format("{:.0f} h", seconds / 3600);
}

// The sentence about what comes next.
std::string forecast(const Outlook& o, const Movement& movement) {
  if (o.free == 0) return "exhausted: no port is left";
  std::string text;
  if (o.has_cliff) {
    text = o.to_cliff == 0 ? "past the cliff, "
                           : fmt::format("cliff at {} ports, ", count_text(o.cliff_at));
  }
  text += fmt::format("exhausted at {}", count_text(o.used + o.free));
  if (movement.seconds <= 0) return text;
  const double per_second = static_cast<double>(movement.growth) / movement.seconds;
  if (per_second < 1) {
    return text + "; not growing at present";
  }
  text += fmt::format("; growing by {:.0f} ports/s", per_second);
  if (o.to_cliff > 0 && o.has_cliff) {
    text += fmt::format(": the cliff in {}", duration_text(o.to_cliff / per_second));
  }
  return text + fmt::format("{} exhausted in {}", o.to_cliff > 0 && o.has_cliff ? "," : ":",
                            duration_text(o.free / per_second));
}

Check explain_lane(const Facts& facts, std::uint32_t index, const Movement& movement) {
  const Census& census = *facts.census;
  const Lane& lane = census.lanes[index];
  const Outlook o = outlook_of(lane, census.plan, facts.settings.reuse);
  const std::vector<Share> shares = shares_of_lane(census, facts.owners, index);
  const bool shimmed = is_shimmed(shares, facts.owners);
  Check check;
  check.name = "destination";
  check.tells_when_ok = true;
  check.status = shimmed && o.stage != Stage::exhausted ? Status::ok : status_of(o);
  check.summary = fmt::format("{}: {} of {} source ports in use ({}), {} free", lane_text(lane),
                              count_text(o.used), count_text(o.used + o.free),
                              percent(o.used, o.used + o.free), count_text(o.free));
  if (shimmed) {
    check.summary += "; under libportpool.so, which does not search";
  } else if (check.status == Status::unknown) {
    check.summary += "; " + doubt_text(lane);
  } else if (o.stage == Stage::past_cliff) {
    check.summary += "; past the cliff: each connect() is slow";
  }
  check.lines.push_back("states: " + states_text(lane.states));
  for (const Share& share : shares) {
    check.lines.push_back(fmt::format("{}: {} ports: {}", share.process, count_text(share.sockets),
                                      states_text(share.states)));
  }
  if (lane.peer == PeerTimestamps::no) {
    check.lines.emplace_back("the peer has no TCP timestamps: no port in TIME-WAIT is taken over");
  }
  if (lane.reusable > 0 && lane.peer != PeerTimestamps::unknown) {
    check.lines.push_back(fmt::format("{} of the TIME-WAIT ports can be taken over by connect()",
                                      count_text(lane.reusable)));
  }
  check.lines.push_back("next: " + forecast(o, movement));
  check.lines.push_back("sustainable: " + sustainable_text(o));
  check.evidence = lane_evidence(lane, o, shares);
  if (movement.seconds > 0) {
    check.evidence["watched_s"] = movement.seconds;
    check.evidence["opened"] = movement.opened;
    check.evidence["growth"] = movement.growth;
  }
  if (check.status != Status::ok) check.fix = lane_fix(facts, lane, o, shares);
  return check;
}

Check explain_unused(const Facts& facts, const Endpoint& endpoint) {
  const PortPlan& plan = facts.census->plan;
  Check check;
  check.name = "destination";
  check.tells_when_ok = true;
  check.evidence = {{"destination", to_text(endpoint)},
                    {"used", 0},
                    {"usable", plan.usable},
                    {"cliff_at", plan.first}};
  const auto route = kernel::route_to(endpoint.address);
  if (!route.is_known()) {
    check.status = Status::unknown;
    check.summary = fmt::format("{}: no connection; {}", to_text(endpoint), route.why());
    return check;
  }
  if (!route) {
    check.status = Status::warn;
    check.summary = fmt::format("{}: no connection, and no route to it", to_text(endpoint));
    check.fix = "ip route get " + to_text(endpoint.address);
    return check;
  }
  Lane lane;
  lane.source = route->source;
  lane.destination = endpoint;
  const Outlook o = outlook_of(lane, plan, facts.settings.reuse);
  check.evidence["source"] = to_text(lane.source);
  check.evidence["sustainable_per_s"] = o.sustainable_per_s;
  check.summary = fmt::format(
      "{}: no connection; {} ports usable, cliff at {}, {} new connections/s "
      "sustainable",
      lane_text(lane), count_text(plan.usable), count_text(plan.first),
      count_text(static_cast<std::uint64_t>(o.sustainable_per_s)));
  if (plan.usable == 0) check.status = Status::fail;
  return check;
}

}  // namespace

NamedDestination resolve_destination(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) port_of("", text);
  std::string host = text.substr(0, colon);
  const std::uint16_t port = port_of(std::string_view(text).substr(colon + 1), text);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  if (bracketed != (host.find(':') != std::string::npos) ||
      host.find_first_of("[] \t/") != std::string::npos) {
    throw UserError(
        fmt::format("\"{}\" is not HOST:PORT; an IPv6 address goes in brackets, for example "
                    "[2001:db8::1]:443",
                    text));
  }
  NamedDestination destination{text, {}};
  for (const Address& address : addresses_of(host)) {
    destination.endpoints.push_back({address, port});
  }
  return destination;
}

std::vector<Check> explain_destination(const NamedDestination& destination,
                                       const std::string& daemon_socket) {
  Facts facts;
  check::Daemons daemons(daemon_socket);
  facts.settings = read_settings();
  const auto rules = census_rules(facts.settings);
  if (!rules) throw UserError("/proc/sys/net/ipv4/ip_local_port_range cannot be read; mount /proc");
  kernel::SockDiag sock_diag;
  const std::uint16_t port = destination.endpoints.front().port;
  const auto begin = Clock::now();
  Census before = take_census(sock_diag, *rules, port);
  const auto first_look = Clock::now();
  double seconds = 0;
  if (first_look - begin < kLongLook) {
    std::this_thread::sleep_for(kBetweenLooks);
    facts.census = take_census(sock_diag, *rules, port);
    seconds = std::chrono::duration<double>(Clock::now() - first_look).count();
  } else {
    facts.census = before;
  }
  facts.owners = find_owners(*facts.census, daemons);

  std::vector<Check> checks;
  for (const Endpoint& endpoint : destination.endpoints) {
    bool used = false;
    for (std::uint32_t i = 0; i < facts.census->lanes.size(); ++i) {
      const Lane& lane = facts.census->lanes[i];
      if (lane.destination != endpoint) continue;
      used = true;
      checks.push_back(explain_lane(facts, i, movement_of(before, *facts.census, lane, seconds)));
    }
    if (!used) checks.push_back(explain_unused(facts, endpoint));
  }
  if (!facts.census->complete) {
    Check check = not_known("the kernel's list broke off; counts are lower bounds");
    check.name = "visibility";
    checks.push_back(std::move(check));
  }
  for (Check& check : checks) say_how_to_keep(check);
  std::stable_sort(checks.begin(), checks.end(),
                   [](const Check& a, const Check& b) { return a.status > b.status; });
  return checks;
}

}  // namespace portpool::doctor
