// All checks, and the one table of them.
#pragma once

#include <vector>

#include "doctor/check.h"
#include "doctor/facts.h"

namespace portpool::doctor {

// Each fills in everything but the name.
Check check_destinations(const Facts& facts);
Check check_bound_sockets(const Facts& facts);
Check check_early_binds(const Facts& facts);
Check check_unanswered_fins(const Facts& facts);
Check check_unanswered_connects(const Facts& facts);
Check check_orphans(const Facts& facts);
Check check_time_wait_table(const Facts& facts);
Check check_conntrack(const Facts& facts);
Check check_descriptors(const Facts& facts);
Check check_port_range(const Facts& facts);
Check check_reserved_ports(const Facts& facts);
Check check_pool_ranges(const Facts& facts);
Check check_pool_rules(const Facts& facts);
Check check_pool_sources(const Facts& facts);
Check check_time_wait_reuse(const Facts& facts);
Check check_timestamps(const Facts& facts);
Check check_time_wait_recycling(const Facts& facts);
Check check_fin_timeout(const Facts& facts);
Check check_lane_table(const Facts& facts);
Check check_connects(const Facts& facts);
Check check_expected(const Facts& facts);
Check check_shim(const Facts& facts);
Check check_kernel_features(const Facts& facts);
Check check_visibility(const Facts& facts);
Check check_listeners(const Facts& facts);

// Of the three above where no configuration was given.
Check no_config();

struct CheckEntry {
  const char* name;
  Check (*run)(const Facts&);
};
// In the order in which findings of the same status matter.
inline constexpr CheckEntry kChecks[] = {
    {"destinations", check_destinations},
    {"bound-sockets", check_bound_sockets},
    {"orphans", check_orphans},
    {"unanswered-fins", check_unanswered_fins},
    {"conntrack", check_conntrack},
    {"descriptors", check_descriptors},
    {"time-wait-table", check_time_wait_table},
    {"unanswered-connects", check_unanswered_connects},
    {"early-binds", check_early_binds},
    {"port-range", check_port_range},
    {"connects", check_connects},
    {"expected", check_expected},
    {"lane-table", check_lane_table},
    {"pool-sources", check_pool_sources},
    {"shim", check_shim},
    {"tw-recycle", check_time_wait_recycling},
    {"timestamps", check_timestamps},
    {"tw-reuse", check_time_wait_reuse},
    {"fin-timeout", check_fin_timeout},
    {"reserved-ports", check_reserved_ports},
    {"pool-ranges", check_pool_ranges},
    {"pool-rules", check_pool_rules},
    {"listeners", check_listeners},
    {"kernel-features", check_kernel_features},
    {"visibility", check_visibility},
};

// The gravest first.
std::vector<Check> run_checks(const Facts& facts);

// Adds the command that keeps the setting of the check's fix, if that is one, over a reboot.
void say_how_to_keep(Check& check);

// For checks that need what could not be had.
Check not_known(const std::string& why);

// For checks of what a daemon's `part` ("segment") tells, where there is no daemon.
Check no_daemon(const std::string& part);

}  // namespace portpool::doctor
