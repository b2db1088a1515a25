#include "daemon/lane_settings.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <iterator>

#include "base/error.h"
#include "daemon/sources.h"
#include "kernel/routes.h"
#include "portpool/lane.h"

namespace portpool {
namespace {

bool fits(const Address& source, const Address& destination) {
  return is_v4(source) == is_v4(destination) && is_loopback(source) == is_loopback(destination);
}

// For the start, when nothing is known yet that could stay in force.
template <class Value>
void require(const kernel::Answer<Value>& answer) {
  if (!answer.is_known()) throw UserError(answer.why());
}

}  // namespace

LaneSettings::LaneSettings(const StructureWriter& structure, std::vector<PoolRule> rules,
                           Strategy strategy)
    : structure_(structure), rules_(std::move(rules)), strategy_(strategy) {
  require(kernel::local_port_range());
  require(kernel::time_wait_reuse());
  if (strategy_ == Strategy::port_range) require(kernel::reserved_ports());
}

void LaneSettings::set_rules(std::vector<PoolRule> rules) {
  rules_ = std::move(rules);
  follow_sources(rules_);
  without_ports_.clear();
  ++version_;
}

LaneSettings::Changes LaneSettings::read() {
  Changes changes;
  const auto reuse = kernel::time_wait_reuse();
  // Absent: nothing says that the kernel allows it.
  if (reuse.is_known()) reuse_ = reuse.value().value_or(kernel::TimeWaitReuse{});
  const auto range = kernel::local_port_range();
  const auto moved = follow_sources(rules_);
  complain_once(!range.is_known() ? range.why() : !reuse.is_known() ? reuse.why() : moved.why());
  if (moved) changes.sources = *moved;
  if (strategy_ == Strategy::bind) {
    const auto reserved = kernel::reserved_ports();
    if (reserved.is_known())
      reserved_ = reserved.value().value_or(std::vector<kernel::PortRange>{});
  }
  if (range && *range != local_range_) {
    local_range_ = *range;
    structure_.header().port_range.store(range->pack(), std::memory_order_relaxed);
    changes.range = true;
  }
  return changes;
}

void LaneSettings::complain_once(const std::string& what) {
  if (!what.empty() && !complained_) {
    spdlog::warn("{}; what was known before stays in force", what);
  }
  complained_ = !what.empty();
}

std::uint32_t LaneSettings::pool_of(const LaneKey& question) const {
  if (is_for_promises(question)) return rule_for_promises(rules_, question.source);
  return rule_for(rules_, destination_of(question));
}

bool LaneSettings::is_exposed(std::uint32_t pool) const {
  return strategy_ == Strategy::bind &&
         is_shared_with_others(range_of(pool), local_range_, reserved_);
}

kernel::PortRange LaneSettings::range_of(std::uint32_t pool) const {
  kernel::PortRange range = rules_[pool].port_range.value_or(local_range_);
  // A pin outside ip_local_port_range would be ignored without a word (ip(7)).
  if (strategy_ == Strategy::port_range) {
    range.low = std::max(range.low, local_range_.low);
    range.high = std::min(range.high, local_range_.high);
  }
  range.low = std::max(range.low, kLowestPort);
  return range;
}

kernel::Answer<LaneSettings::Sources> LaneSettings::sources_for(const LaneKey& question,
                                                                std::uint32_t pool) const {
  const PoolRule& rule = rules_[pool];
  if (!rule.serves || range_of(pool).empty()) return kernel::Answer<Sources>::absent();
  const bool promises = is_for_promises(question);
  if (promises && rule.early_bind == EarlyBind::real) return kernel::Answer<Sources>::absent();
  if (promises || !is_unspecified(question.source)) return Sources{question.source};
  Sources sources;
  std::copy_if(rule.sources.begin(), rule.sources.end(), std::back_inserter(sources),
               [&](const Address& source) { return fits(source, question.destination); });
  if (!sources.empty()) return sources;
  // They are away: no lanes of an address that nobody has named.
  if (names_sources_for(rule, question.destination)) return kernel::Answer<Sources>::absent();
  const auto route = kernel::route_to(question.destination);
  if (!route.is_known()) return kernel::Answer<Sources>::unknown(route.why());
  return route ? Sources{route->source} : kernel::Answer<Sources>::absent();
}

bool LaneSettings::names_sources_for(const PoolRule& rule, const Address& destination) {
  return std::any_of(rule.source_entries.begin(), rule.source_entries.end(),
                     [&](const AddressPrefix& entry) { return fits(entry.base, destination); });
}

std::uint32_t LaneSettings::why_absent(const LaneKey& question, std::uint32_t pool) const {
  const PoolRule& rule = rules_[pool];
  if (!rule.serves) return EntryFlags::no_pool;
  const bool by_source = !range_of(pool).empty() && is_unspecified(question.source) &&
                         names_sources_for(rule, question.destination);
  return by_source ? EntryFlags::no_source : 0;
}

std::string LaneSettings::trouble() const {
  if (complained_) return "a setting of the kernel's cannot be read (see the log)";
  for (std::uint32_t pool = 0; pool < rules_.size(); ++pool) {
    const PoolRule& rule = rules_[pool];
    if (!rule.serves) continue;
    if (!rule.source_entries.empty() && rule.sources.empty()) {
      return fmt::format("pool {}: none of its sources is on this host", rule.name);
    }
    if (range_of(pool).empty()) {
      return fmt::format("pool {}: none of its ports can be given out", rule.name);
    }
  }
  return "";
}

std::vector<std::uint32_t> LaneSettings::note_pools_without_ports() {
  std::vector<std::uint32_t> changed;
  without_ports_.resize(rules_.size());
  for (std::uint32_t pool = 0; pool < rules_.size(); ++pool) {
    const PoolRule& rule = rules_[pool];
    const bool empty = rule.serves && range_of(pool).empty();
    if (empty == without_ports_[pool]) continue;
    without_ports_[pool] = empty;
    changed.push_back(pool);
    const kernel::PortRange wanted = rule.port_range.value_or(local_range_);
    if (empty) {
      spdlog::warn(
          "pool {}: none of its ports {}-{} can be given out (ip_local_port_range is {}-{}, and "
          "ports below {} are never used); its destinations are refused until that changes",
          rule.name, wanted.low, wanted.high, local_range_.low, local_range_.high, kLowestPort);
    } else {
      spdlog::info("pool {}: has ports again and is served", rule.name);
    }
  }
  return changed;
}

}  // namespace portpool
