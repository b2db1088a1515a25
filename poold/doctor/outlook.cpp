#include "doctor/outlook.h"

#include <fmt/format.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <cmath>

#include "base/address_text.h"
#include "doctor/peer_timestamps.h"

namespace portpool::doctor {
namespace {

constexpr std::uint32_t kSmallestCliff = 1000;  // searching fewer ports takes microseconds
constexpr std::uint32_t kFewWaits = 100;        // too few TIME_WAIT entries to speak of a rate
constexpr std::uint32_t kExhaustedBelow = 2;    // per cent of the usable ports left

// How many of the lane's ports wait for something that the same remedy helps against.
struct Cause {
  enum What { connected, time_wait, close_wait, peer_fin, peer_syn } what;
  std::uint32_t sockets;
};

Cause main_cause(const Lane& lane) {
  const StateCounts& n = lane.states;
  const Cause causes[] = {
      {Cause::connected, n[TCP_ESTABLISHED]},
      {Cause::time_wait, n[TCP_TIME_WAIT] - std::min(lane.reusable, n[TCP_TIME_WAIT])},
      {Cause::close_wait, n[TCP_CLOSE_WAIT]},
      {Cause::peer_fin, n[TCP_FIN_WAIT1] + n[TCP_FIN_WAIT2] + n[TCP_LAST_ACK] + n[TCP_CLOSING]},
      {Cause::peer_syn, n[TCP_SYN_SENT]}};
  return *std::max_element(std::begin(causes), std::end(causes),
                           [](const Cause& a, const Cause& b) { return a.sockets < b.sockets; });
}

const char* name_of(PeerTimestamps peer) {
  switch (peer) {
    case PeerTimestamps::yes:
      return "yes";
    case PeerTimestamps::no:
      return "no";
    case PeerTimestamps::unknown:
      return "unknown";
    case PeerTimestamps::not_asked:
      break;
  }
  return "not asked";
}

std::string more_ports(const Facts& facts) {
  const std::string widen = widen_command(*facts.census);
  return widen.empty() ? "add a source or a destination address" : widen;
}

std::string time_wait_fix(const Facts& facts, const Lane& lane) {
  const Settings& settings = facts.settings;
  if (lane.peer == PeerTimestamps::no) {
    return "keep connections open (keep-alive), or " + more_ports(facts) +
           "; tcp_tw_reuse cannot help as long as the peer has no TCP timestamps (there: "
           "net.ipv4.tcp_timestamps=1)";
  }
  const bool loopback = is_loopback(lane.destination.address);
  if (settings.reuse.mode == 1 || (settings.reuse.mode == 2 && loopback)) {
    return "keep connections open (keep-alive), or " + more_ports(facts);
  }
  if (settings.timestamps == 0) {
    return "sysctl -w net.ipv4.tcp_timestamps=1 net.ipv4.tcp_tw_reuse=1, or keep connections open";
  }
  return "sysctl -w net.ipv4.tcp_tw_reuse=1 (ports come back after " +
         fmt::format("{:g} s instead of 60 s), or keep connections open (keep-alive)",
                     settings.reuse.min_age_ms / 1000.0);
}

}  // namespace

Outlook outlook_of(const Lane& lane, const PortPlan& plan, const kernel::TimeWaitReuse& reuse) {
  Outlook o;
  o.used = lane.held;
  o.free = plan.usable - std::min(lane.held, plan.usable);
  o.cliff_at = plan.first;
  o.to_cliff = plan.first - std::min(lane.held_first, plan.first);
  o.has_cliff = plan.first >= kSmallestCliff;
  const bool loopback = is_loopback(lane.source) || is_loopback(lane.destination.address);
  const bool comes_back =
      (reuse.mode == 1 || (reuse.mode == 2 && loopback)) && lane.peer != PeerTimestamps::no;
  // With tcp_tw_reuse_delay 0 the next millisecond will do.
  o.waits_s = std::max(comes_back ? reuse.min_age_ms : kernel::kTimeWaitMs, 1U) / 1000.0;
  if (lane.recent_waits >= kFewWaits) o.ends_per_s = lane.recent_waits / (kRecentMs / 1000.0);
  const std::uint32_t waiting = lane.states[TCP_TIME_WAIT];
  const std::uint32_t waiting_held = waiting - std::min(lane.reusable, waiting);
  const std::uint32_t standing = lane.held - std::min(waiting_held, lane.held);
  o.turning = plan.usable - std::min(standing, plan.usable);
  o.sustainable_per_s = o.turning / o.waits_s;
  const double settled = standing + o.ends_per_s * o.waits_s;
  o.settles_at = static_cast<std::uint32_t>(std::min(std::round(settled), 1e9));
  if (plan.usable != 0 && o.free * 100ULL < std::uint64_t{plan.usable} * kExhaustedBelow) {
    o.stage = Stage::exhausted;
  } else if (o.has_cliff && o.to_cliff * 100ULL < plan.first) {
    o.stage = Stage::past_cliff;
  } else if (o.has_cliff && lane.held_first * 5ULL >= plan.first * 4ULL) {
    o.stage = Stage::near_cliff;
  } else if (o.ends_per_s > 0 && o.settles_at >= plan.first) {
    o.stage = Stage::heading;
  }
  o.stage_without_reuse = lane.peer == PeerTimestamps::unknown
                              ? outlook_of(without_reuse(lane), plan, reuse).stage
                              : o.stage;
  return o;
}

Status status_of(const Outlook& outlook) {
  const Status status = status_of(outlook.stage);
  return status == Status::ok && status_of(outlook.stage_without_reuse) != Status::ok
             ? Status::unknown
             : status;
}

Status status_of(Stage stage) {
  switch (stage) {
    case Stage::calm:
      return Status::ok;
    case Stage::heading:
    case Stage::near_cliff:
      return Status::warn;
    case Stage::past_cliff:
    case Stage::exhausted:
      return Status::fail;
  }
  return Status::fail;
}

bool is_shimmed(const std::vector<Share>& shares, const Ownership& owners) {
  std::uint32_t all = 0;
  std::uint32_t shimmed = 0;
  for (const Share& share : shares) {
    all += share.sockets;
    const BusyProcess* process = owners.find(share.pid);
    if (process != nullptr && process->has_library()) {
      shimmed += share.sockets;
    }
  }
  return all != 0 && shimmed * 10ULL >= all * 9ULL;
}

std::string lane_fix(const Facts& facts, const Lane& lane, const Outlook& outlook,
                     const std::vector<Share>& shares) {
  const std::string destination = to_text(lane.destination);
  if (status_of(outlook) == Status::unknown) {
    return fmt::format(
        "look while a connection there stands: \"ts\" in the output of ss -tni dst {} means that "
        "the "
        "peer has timestamps",
        destination);
  }
  // Not by its name, which is another user's to choose.
  const std::string who = shares.empty() || shares[0].pid == 0
                              ? "the program"
                              : fmt::format("the program of pid {}", shares[0].pid);
  switch (main_cause(lane).what) {
    case Cause::time_wait:
      return time_wait_fix(facts, lane);
    case Cause::close_wait:
      return fmt::format(
          "mend or restart {}: it does not close what the peer has closed "
          "(ss -tnp state close-wait dst {})",
          who, destination);
    case Cause::peer_fin:
      return fmt::format(
          "look at the peer {}: it does not finish closing "
          "(ss -tno state closing dst {}); meanwhile use another source address",
          destination, destination);
    case Cause::peer_syn:
      return fmt::format(
          "look at the peer {} and the way to it: connects get no answer "
          "(ss -tno state syn-sent dst {})",
          destination, destination);
    case Cause::connected:
      break;
  }
  if (outlook.stage == Stage::exhausted)
    return "share connections (keep-alive), or " + more_ports(facts);
  return "start " + who + " under poold run -- COMMAND (no search at any occupancy), or " +
         more_ports(facts);
}

std::string sustainable_text(const Outlook& outlook) {
  return fmt::format("{} new connections/s ({} ports / {:g} s)",
                     count_text(static_cast<std::uint64_t>(outlook.sustainable_per_s)),
                     count_text(outlook.turning), outlook.waits_s);
}

std::string doubt_text(const Lane& lane) {
  return fmt::format(
      "{} more are in TIME-WAIT, and whether connect() takes them over depends on the peer's TCP "
      "timestamps, which no connection shows now",
      count_text(lane.reusable_usable));
}

std::string lane_text(const Lane& lane) {
  return to_text(lane.source) + " -> " + to_text(lane.destination);
}

Json lane_evidence(const Lane& lane, const Outlook& outlook, const std::vector<Share>& shares) {
  Json states = Json::object();
  for (std::size_t i = 0; i < kStates; ++i) {
    if (lane.states[i] != 0) states[name_of_state(i)] = lane.states[i];
  }
  Json processes = Json::array();
  for (const Share& share : shares) {
    processes.push_back({{"pid", share.pid}, {"process", share.process}, {"ports", share.sockets}});
  }
  return {{"source", to_text(lane.source)},
          {"destination", to_text(lane.destination)},
          {"used", outlook.used},
          {"usable", outlook.used + outlook.free},
          {"free", outlook.free},
          {"cliff_at", outlook.cliff_at},
          {"to_cliff", outlook.to_cliff},
          {"sustainable_per_s", std::round(outlook.sustainable_per_s * 10) / 10},
          {"ends_per_s", outlook.ends_per_s},
          {"settles_at", outlook.settles_at},
          {"reusable_time_wait", lane.reusable},
          {"peer_timestamps", name_of(lane.peer)},
          {"states", states},
          {"processes", processes}};
}

std::string widen_command(const Census& census) {
  const auto wider = wider_range(census.plan.range, census.listening);
  if (!wider) return "";
  return fmt::format("sysctl -w net.ipv4.ip_local_port_range=\"{} {}\"", wider->low, wider->high);
}

}  // namespace portpool::doctor
