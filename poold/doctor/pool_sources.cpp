// Are the source addresses that poold's configuration names on this host?
#include <fmt/format.h>

#include "base/text.h"
#include "doctor/checks.h"

namespace portpool::doctor {

Check check_pool_sources(const Facts& facts) {
  Check check;
  const std::uint64_t so_far = facts.lane_table ? facts.lane_table->without_source : 0;
  const std::vector<std::string> absent =
      facts.config ? facts.config->absent_sources : std::vector<std::string>{};
  check.evidence = {{"absent", absent}, {"connects_without_source", so_far}};
  if (!absent.empty()) {
    check.status = Status::warn;
    check.summary = fmt::format("{} of the configuration cannot be used now: {}",
                                counted(absent.size(), "source", "sources"), absent.front());
    check.fix =
        "nothing where a VRRP daemon has it on another host; else add it: ip addr add ADDRESS dev "
        "INTERFACE (poold uses it at once)";
    for (std::size_t i = 1; i < absent.size(); ++i) check.lines.push_back("also " + absent[i]);
  } else {
    check.summary =
        facts.config ? "all sources that the configuration names are here" : no_config().summary;
  }
  if (so_far > 0) {
    check.lines.push_back(
        fmt::format("{} so far found none of their pool's sources on this host (no_source)",
                    counted(so_far, "connect", "connects")));
  }
  return check;
}

}  // namespace portpool::doctor
