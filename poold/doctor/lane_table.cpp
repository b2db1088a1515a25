// Whether poold's table has room for another lane.
#include <fmt/format.h>

#include "doctor/checks.h"
#include "portpool/structure.h"

namespace portpool::doctor {
namespace {

constexpr std::uint32_t kMostLanes = kMaxLanes;

}  // namespace

Check check_lane_table(const Facts& facts) {
  if (!facts.lane_table) return no_daemon("segment");
  Check check;
  const LaneTableState& table = *facts.lane_table;
  const bool full = table.in_service >= table.places;
  check.evidence = {{"places", table.places},
                    {"in_service", table.in_service},
                    {"full", full},
                    {"connects_without_lane", table.without_lane},
                    {"rewritten", table.rewritten}};
  check.summary = fmt::format("{} of {} lanes in service", count_text(table.in_service),
                              count_text(table.places));
  if (!table.rewritten.empty()) {
    check.lines.push_back(fmt::format(
        "{} rewritten on the way by a program at cgroup/connect4 or connect6 (a socket load "
        "balancer), {} first: on the kernel's path; configure the backends' addresses in the "
        "program if they shall come from the pool",
        counted(table.rewritten.size(), "destination is", "destinations are"),
        table.rewritten.front()));
  }
  if (full) {
    check.status = Status::warn;
    check.summary += fmt::format(
        "; connects to other destinations take the kernel's path until lanes come free "
        "({} have for want of a lane so far)",
        count_text(table.without_lane));
    check.fix =
        table.places < kMostLanes
            ? fmt::format(
                  "raise max_lanes in poold's configuration (at most {}), and "
                  "restart it",
                  kMostLanes)
            : "run the programs in several network namespaces, each with a poold of its own";
  }
  return check;
}

}  // namespace portpool::doctor
