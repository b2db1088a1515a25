// All TIME_WAIT entries together against tcp_max_tw_buckets.
#include <fmt/format.h>

#include <algorithm>

#include "doctor/checks.h"

namespace portpool::doctor {

Check check_time_wait_table(const Facts& facts) {
  const auto limit = facts.settings.max_tw_buckets;
  if (!limit || !facts.statistics) return not_known("tcp_max_tw_buckets cannot be read");
  const long entries = facts.statistics->time_wait;
  const std::uint64_t overflows = facts.counter("TCPTimeWaitOverflow");
  // The counter is as old as the namespace. What it says tells of the limit in force only as far
  // as it grows, or while the table is full.
  const bool full = entries * 20 >= *limit * 19;
  const std::uint64_t of_late = facts.grown("TCPTimeWaitOverflow").value_or(full ? overflows : 0);
  const long range = facts.census ? static_cast<long>(facts.census->plan.count) : 0;
  Check check;
  check.evidence = {{"time_wait", entries}, {"limit", *limit}, {"overflows", overflows}};
  check.summary = fmt::format("{} of at most {} entries (tcp_max_tw_buckets)",
                              count_text(static_cast<std::uint64_t>(entries)),
                              count_text(static_cast<std::uint64_t>(std::max(*limit, 0L))));
  constexpr long kAmple = 262'144;
  check.fix = fmt::format("sysctl -w net.ipv4.tcp_max_tw_buckets={}  # an entry takes about 0.3 KB",
                          std::max(kAmple, *limit * 2));
  if (of_late > 0) {
    check.status = full ? Status::fail : Status::warn;
    check.summary += fmt::format("; table overflow: {} connections ended {}without TIME-WAIT",
                                 count_text(of_late), facts.earlier ? "since the last look " : "");
    check.lines.emplace_back(
        "without TIME-WAIT late packets of an old connection can enter a new one "
        "on the same ports");
  } else if (full) {
    check.status = Status::fail;
    check.summary += ": further connections end without TIME-WAIT";
  } else if (entries * 5 >= *limit * 4) {
    check.status = Status::warn;
  } else if (*limit < range) {
    check.status = Status::warn;
    check.summary += fmt::format(": a single destination with {} ports can overflow it",
                                 count_text(static_cast<std::uint64_t>(range)));
  } else {
    check.fix.clear();
  }
  if (overflows > 0 && of_late == 0) {
    check.lines.push_back(fmt::format(
        "{} connections have ended without TIME-WAIT since boot; --watch shows whether more do",
        count_text(overflows)));
  }
  return check;
}

}  // namespace portpool::doctor
