// The connection tracking table: when it is full, connects fail or hang though ports are free.
#include <fmt/format.h>

#include <algorithm>

#include "doctor/checks.h"
#include "doctor/outlook.h"

namespace portpool::doctor {
namespace {

// When local ports are fine the trouble is not theirs.
std::string not_local_ports(const Facts& facts) {
  if (!facts.census || facts.census->lanes.empty()) return "";
  const Lane& fullest = facts.census->lanes.front();
  const Outlook outlook = outlook_of(fullest, facts.census->plan, facts.settings.reuse);
  if (outlook.stage != Stage::calm) return "";
  return fmt::format("not local ports: the fullest destination uses {} of {}; look at NAT",
                     count_text(outlook.used), count_text(outlook.used + outlook.free));
}

}  // namespace

Check check_conntrack(const Facts& facts) {
  Check check;
  if (!facts.conntrack) {
    check.summary = "no connection tracking in this network namespace";
    check.evidence["loaded"] = false;
    return check;
  }
  const kernel::Conntrack& table = *facts.conntrack;
  const std::uint64_t dropped = table.dropped.value_or(0);
  const std::uint64_t failed = table.insert_failed.value_or(0);
  check.evidence = {{"loaded", true},
                    {"entries", table.entries},
                    {"limit", table.limit},
                    {"dropped", table.dropped ? Json(dropped) : Json(nullptr)},
                    {"insert_failed", table.insert_failed ? Json(failed) : Json(nullptr)}};
  check.summary = fmt::format(
      "{} of {} entries ({})", count_text(static_cast<std::uint64_t>(table.entries)),
      count_text(static_cast<std::uint64_t>(table.limit)),
      percent(static_cast<std::uint64_t>(table.entries), static_cast<std::uint64_t>(table.limit)));
  if (failed > 0) {
    check.summary += fmt::format("; {} entries failed (clashes, or no source port left for NAT)",
                                 count_text(failed));
  }
  if (table.limit > 0 && table.entries * 20 >= table.limit * 19) {
    check.status = Status::fail;
    check.summary += ": packets of new connections are dropped";
  } else if (table.limit > 0 && table.entries * 5 >= table.limit * 4) {
    check.status = Status::warn;
  } else if (dropped > 0) {
    check.status = Status::warn;
    check.summary +=
        fmt::format("; {} packets were dropped because it was full", count_text(dropped));
  }
  if (check.status == Status::ok) return check;
  if (const std::string hint = not_local_ports(facts); !hint.empty()) check.lines.push_back(hint);
  check.fix = fmt::format(
      "sysctl -w net.netfilter.nf_conntrack_max={} (on the host), or take this "
      "traffic out of tracking (nft: notrack)",
      table.limit * 2);
  return check;
}

}  // namespace portpool::doctor
