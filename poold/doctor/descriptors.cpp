// Processes with many outgoing connections that come near their limit of open files.
#include <fmt/format.h>

#include "doctor/checks.h"

namespace portpool::doctor {

Check check_descriptors(const Facts& facts) {
  if (!facts.census) return not_known(facts.census_error);
  Check check;
  check.evidence["processes"] = Json::array();
  const BusyProcess* worst = nullptr;
  const auto fill = [](const BusyProcess& process) {
    return static_cast<double>(process.open) / static_cast<double>(*process.open_limit);
  };
  for (const BusyProcess& process : facts.owners.busy) {
    check.evidence["processes"].push_back(
        {{"pid", process.pid},
         {"process", process.name},
         {"outgoing", process.outgoing},
         {"open", process.open},
         {"limit", process.open_limit ? Json(*process.open_limit) : Json(nullptr)}});
    if (!process.open_limit || *process.open_limit == 0) continue;
    if (worst == nullptr || fill(process) > fill(*worst)) worst = &process;
  }
  if (worst == nullptr) {
    if (facts.owners.unattributed >= kManyConnections) {
      return not_known(
          fmt::format("{} outgoing connections belong to processes that cannot be seen; "
                      "run as root",
                      count_text(facts.owners.unattributed)));
    }
    check.summary =
        fmt::format("no process with {} or more outgoing connections", kManyConnections);
    return check;
  }
  check.summary =
      fmt::format("{} (pid {}) has {} of {} files open, {} outgoing connections among them",
                  worst->name, worst->pid, count_text(worst->open), count_text(*worst->open_limit),
                  count_text(worst->outgoing));
  constexpr double kFail = 0.95;
  constexpr double kWarn = 0.8;
  if (fill(*worst) >= kWarn) {
    check.status = fill(*worst) >= kFail ? Status::fail : Status::warn;
    check.summary += ": socket() is about to fail with EMFILE, not for want of ports";
    check.fix =
        fmt::format("prlimit --pid {} --nofile={} (now); LimitNOFILE= in its unit (for good)",
                    worst->pid, *worst->open_limit * 4);
  }
  return check;
}

}  // namespace portpool::doctor
