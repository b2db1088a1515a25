// Is a configuration valid, and what would it do on this host?
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <unordered_set>
#include <vector>

#include "base/text.h"
#include "cli/commands.h"
#include "cli/config_facts.h"
#include "daemon/config.h"
#include "doctor/census.h"
#include "doctor/checks.h"
#include "doctor/report.h"

namespace portpool {
namespace {

using doctor::Check;
using doctor::Status;

Check named(const char* name, Check check) {
  check.name = name;
  return check;
}

// The implicit last pool is not counted.
Check validity(const std::string& file, const Config& config) {
  Check check;
  const std::size_t pools = config.pools.size() - 1;
  check.summary = fmt::format("{} is valid: {} and the implicit one for the rest", file,
                              counted(pools, "pool", "pools"));
  check.evidence = {
      {"pools", pools}, {"max_lanes", config.max_lanes}, {"expected", config.expected.size()}};
  return check;
}

// poold does not start without a source, unless it was told to.
Check sources(const doctor::Facts& facts, bool optional) {
  Check check = doctor::check_pool_sources(facts);
  if (check.status == Status::warn && !optional) {
    check.status = Status::fail;
    check.lines.emplace_back("poold does not start with this (sources_optional = true lets it)");
  }
  return check;
}

// What falls under one pool now.
struct Use {
  std::uint64_t connections = 0;
  std::uint64_t pairs = 0;  // of a source and a destination
  std::unordered_set<LaneKey, KeyHash> destinations;
};

std::vector<Use> uses_of(const std::vector<PoolRule>& rules, const doctor::Census& census) {
  std::vector<Use> uses(rules.size());
  for (const doctor::Lane& lane : census.lanes) {
    Use& use = uses[rule_for(rules, lane.destination)];
    use.connections += lane.sockets;
    ++use.pairs;
    use.destinations.insert({Address{}, lane.destination.address, lane.destination.port});
  }
  return uses;
}

// A pool with sources may come to use each of them toward each destination.
std::uint64_t lanes_for(const PoolRule& rule, const Use& use) {
  if (!rule.serves) return 0;
  return rule.sources.empty() ? use.pairs : use.destinations.size() * rule.sources.size();
}

// Which pool each connection that stands would fall under.
Check use_of_pools(const doctor::Facts& facts, const Config& config) {
  if (!facts.census) return doctor::not_known(facts.census_error);
  const std::vector<Use> uses = uses_of(config.pools, *facts.census);
  Check check;
  check.tells_when_ok = true;
  check.evidence["pools"] = doctor::Json::array();
  std::uint64_t lanes = 0;
  for (std::size_t i = 0; i < uses.size(); ++i) {
    const PoolRule& rule = config.pools[i];
    const std::uint64_t needed = lanes_for(rule, uses[i]);
    lanes += needed;
    check.lines.push_back(fmt::format(
        "{}: {} to {}, {}", rule.name, counted(uses[i].connections, "connection", "connections"),
        counted(uses[i].destinations.size(), "destination", "destinations"),
        rule.serves ? counted(needed, "lane", "lanes") : "no lanes (pool = \"none\")"));
    check.evidence["pools"].push_back({{"name", rule.name},
                                       {"connections", uses[i].connections},
                                       {"destinations", uses[i].destinations.size()},
                                       {"lanes", needed}});
  }
  check.evidence["lanes"] = lanes;
  check.evidence["max_lanes"] = config.max_lanes;
  check.summary = fmt::format("the outgoing connections that stand now come to {} of {}",
                              counted(lanes, "lane", "lanes"), count_text(config.max_lanes));
  if (lanes > config.max_lanes) {
    check.status = Status::warn;
    check.fix = fmt::format("max_lanes = {} (docs/configuration.md says what each takes)",
                            std::min<std::uint64_t>(std::bit_ceil(lanes), kMaxLanes));
  }
  return check;
}

}  // namespace

int check_config_command(const CheckConfigOptions& options) {
  const Config config = load_config(options.file, AbsentSources::warning);
  doctor::Facts facts;
  facts.config = facts_of(config);
  std::vector<Check> checks{named("config", validity(options.file, config)),
                            named("pool-rules", doctor::check_pool_rules(facts))};
  if (options.against_host) {
    doctor::count_sockets(facts);
    checks.push_back(named("pool-sources", sources(facts, config.sources_optional)));
    checks.push_back(named("pool-ranges", doctor::check_pool_ranges(facts)));
    checks.push_back(named("pool-use", use_of_pools(facts, config)));
  }
  fmt::print("{}", options.json
                       ? doctor::checks_as_json(checks, false)
                       : doctor::checks_as_text(checks, true, doctor::stdout_wants_colour()));
  return doctor::exit_status(doctor::overall(checks));
}

}  // namespace portpool
