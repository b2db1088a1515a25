// Connections that no process holds any more but that the kernel still has to finish.
#include <fmt/format.h>

#include "doctor/checks.h"

namespace portpool::doctor {
namespace {

constexpr long kHarmless = 1024;  // far below any kernel's default limit (4096 and more)

// What orphans are made of, for whom to ask.
std::uint64_t closing_orphans(const Facts& facts) {
  std::uint64_t sum = 0;
  if (facts.census) {
    for (const ClosingPeer& peer : facts.census->closing) sum += peer.orphans;
  }
  return sum;
}

}  // namespace

Check check_orphans(const Facts& facts) {
  if (!facts.statistics) return not_known("/proc/net/sockstat cannot be read");
  const long orphans = facts.statistics->orphans;
  const auto limit = facts.settings.max_orphans;
  const std::uint64_t aborted = facts.counter("TCPAbortOnMemory");
  const auto shown = count_text(static_cast<std::uint64_t>(orphans));
  Check check;
  check.evidence = {{"orphans", orphans},
                    {"limit", limit ? Json(*limit) : Json(nullptr)},
                    {"closing_here", closing_orphans(facts)},
                    {"aborted_on_memory", aborted}};
  check.fix =
      "see unanswered-fins for the peer at fault; raising the limit only buys time: sysctl -w "
      "net.ipv4.tcp_max_orphans=N (each may hold up to 64 KB that is never swapped)";
  if (!limit || *limit <= 0) {
    if (orphans < kHarmless) {
      check.fix.clear();
      check.summary = fmt::format("{} on the whole machine: harmless", shown);
      return check;
    }
    check.status = Status::unknown;
    check.summary = fmt::format(
        "{} on the whole machine; their limit (tcp_max_orphans) is shown in "
        "the host's network namespace only",
        shown);
    check.fix = "run this on the host, outside the container";
    return check;
  }
  check.summary = fmt::format("{} of at most {} (tcp_max_orphans)", shown,
                              count_text(static_cast<std::uint64_t>(*limit)));
  // tcp_check_oom() counts those with stalled transmission two- and fourfold.
  if (orphans * 10 >= *limit * 9) {
    check.status = Status::fail;
    check.summary += ": the kernel resets connections instead of closing them";
  } else if (orphans * 4 >= *limit) {
    check.status = Status::warn;
    check.summary += "; from a quarter on the kernel may reset stalled ones";
  } else if (facts.grown("TCPAbortOnMemory").value_or(aborted) > 0) {
    check.status = Status::warn;
    check.summary +=
        fmt::format("; {} connections were reset for too many orphans or lack of memory",
                    count_text(facts.grown("TCPAbortOnMemory").value_or(aborted)));
  } else {
    check.fix.clear();
  }
  return check;
}

}  // namespace portpool::doctor
