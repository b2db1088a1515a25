// Sockets that hold a port without a connection, and connections whose port was bound too early.
#include <fmt/format.h>

#include "base/address_text.h"
#include "doctor/checks.h"
#include "doctor/early_binds.h"

namespace portpool::doctor {
namespace {

constexpr std::uint64_t kMany = 1000;
// So few that they do no harm, wherever they are.
constexpr long kFew = 500;

// Where the kernel does not list them: TCP sockets that exist, less those of this namespace that
// do something. Sockets of other namespaces are among them, so it is a bound from above.
Check by_statistics(const Facts& facts) {
  const std::string why = "this kernel does not list bound sockets (Linux 6.8 and newer do)";
  if (!facts.statistics) return not_known(why);
  const long most = std::max(0L, facts.statistics->allocated - facts.statistics->in_use);
  Check check;
  check.evidence = {{"listed", false}, {"at_most", most}};
  if (most < kFew) {
    check.summary = fmt::format("at most {} (not listed by this kernel; from /proc/net/sockstat)",
                                count_text(static_cast<std::uint64_t>(most)));
    return check;
  }
  check.status = Status::unknown;
  check.summary = fmt::format("cannot be known here: {}; anything up to {} is possible", why,
                              count_text(static_cast<std::uint64_t>(most)));
  check.fix =
      "ss -s shows as \"closed\" what is bound, or not yet connected; look for a program "
      "with many sockets: ls /proc/*/fd | sort | uniq -c";
  return check;
}

struct BoundSockets {
  std::uint64_t sockets = 0;  // in the range
  std::uint64_t ports = 0;
};

BoundSockets in_range(const Census& census) {
  BoundSockets found;
  PortSet seen;
  for (const LocalSocket& socket : census.bound) {
    if (!census.plan.in_range(socket.local.port)) continue;
    ++found.sockets;
    seen.set(socket.local.port);
  }
  found.ports = seen.count();
  return found;
}

}  // namespace

Check check_bound_sockets(const Facts& facts) {
  if (!facts.census) return not_known(facts.census_error);
  const Census& census = *facts.census;
  if (!census.bound_listed) return by_statistics(facts);
  const BoundSockets found = in_range(census);
  const unsigned range = census.plan.count;
  Check check;
  check.evidence = {{"listed", true},
                    {"sockets", census.bound.size()},
                    {"in_range", found.sockets},
                    {"ports", found.ports},
                    {"range", range},
                    {"processes", Json::array()}};
  check.summary =
      fmt::format("{} bound but not connected; they hold {} of {} ports, for all destinations",
                  counted(census.bound.size(), "socket", "sockets"), count_text(found.ports),
                  count_text(range));
  if (census.bound.empty()) {
    check.summary = "none";
    return check;
  }
  const std::vector<Share> shares = shares_of(census.bound, facts.owners);
  for (const Share& share : shares) {
    check.evidence["processes"].push_back(
        {{"pid", share.pid}, {"process", share.process}, {"sockets", share.sockets}});
  }
  if (!shares.empty()) check.lines.push_back("held by: " + shares_text(shares, 5));
  if (found.ports * 2 >= range) {
    check.status = Status::fail;
  } else if (found.ports * 20 >= range || found.ports >= kMany) {
    check.status = Status::warn;
  }
  if (check.status == Status::ok) return check;
  if (!shares.empty()) {
    check.summary = fmt::format(
        "{} holds {} of {} ports by sockets that it bound and never "
        "connected: lost to every destination",
        shares[0].process, count_text(found.ports), count_text(range));
    if (shares.size() > 1) {
      check.summary = fmt::format(
          "{} of {} ports are held by sockets that were bound and never "
          "connected, most of them by {}",
          count_text(found.ports), count_text(range), shares[0].process);
    }
  }
  const std::string pid =
      shares.empty() || shares[0].pid == 0 ? "" : fmt::format("{}", shares[0].pid);
  check.fix = pid.empty() ? "find the program (run this as root) and mend or restart it"
                          : fmt::format(
                                "mend or restart it (kill -TERM {}); under poold run -- "
                                "COMMAND such sockets hold no port",
                                pid);
  return check;
}

Check check_early_binds(const Facts& facts) {
  if (!facts.census) return not_known(facts.census_error);
  const std::vector<EarlyBinds> all = find_early_binds(*facts.census, facts.owners);
  Check check;
  check.evidence["sources"] = Json::array();
  for (const EarlyBinds& one : all) {
    Json processes = Json::array();
    for (const Share& share : one.shares) {
      processes.push_back(
          {{"pid", share.pid}, {"process", share.process}, {"ports", share.sockets}});
    }
    check.evidence["sources"].push_back({{"source", to_text(one.source)},
                                         {"destinations", one.destinations},
                                         {"ports", one.ports},
                                         {"usable", one.usable},
                                         {"taken_last", one.telling},
                                         {"processes", processes}});
  }
  check.evidence["destinations"] = Json::array();
  std::uint64_t total = 0;
  for (const EarlyBinds& one : all) {
    total += one.telling;
    for (const Lane& lane : facts.census->lanes) {
      if (lane.source != one.source || lane.other_parity == 0) continue;
      check.evidence["destinations"].push_back({{"source", to_text(lane.source)},
                                                {"destination", to_text(lane.destination)},
                                                {"ports", lane.other_parity}});
    }
  }
  check.evidence["ports"] = total;
  if (all.empty()) {
    check.summary = "no sign of programs that bind a port before they connect";
    return check;
  }
  const EarlyBinds& worst = all.front();
  check.status = worst.exhausted() ? Status::fail : Status::warn;
  check.summary = fmt::format(
      "{}: {} of {} ports in use over {}, {} of them of the parity that connect() takes last: {} "
      "calls bind(address, 0) first, and a port bound like that is lost to all other "
      "destinations{}",
      to_text(worst.source), count_text(worst.ports), count_text(worst.usable),
      counted(worst.destinations, "destination", "destinations"), count_text(worst.telling),
      worst.shares.empty() ? "a program" : worst.shares.front().process,
      worst.exhausted() ? "; none is left, bind() fails with EADDRINUSE" : "");
  check.lines.push_back("held by: " + shares_text(worst.shares, 5));
  check.fix =
      "set IP_BIND_ADDRESS_NO_PORT before bind() in that program, or start it under poold run -- "
      "COMMAND, where such a bind takes no port from other destinations, also of programs that ask "
      "for "
      "their port at once, as Java and Erlang do";
  return check;
}

}  // namespace portpool::doctor
