#include "cli/config_facts.h"

namespace portpool {

doctor::ConfigFacts facts_of(const Config& config) {
  doctor::ConfigFacts facts;
  for (const PoolRule& rule : config.pools) {
    if (rule.port_range) facts.ranges.push_back({rule.name, *rule.port_range});
  }
  facts.binds = config.strategy == StrategyChoice::bind;
  facts.absent_sources = config.absent_sources;
  facts.idle_rules = config.idle_rules;
  return facts;
}

}  // namespace portpool
