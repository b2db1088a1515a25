#include "daemon/sources.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "kernel/addresses.h"
#include "kernel/routes.h"
#include "portpool/structure.h"

namespace portpool {
namespace {

bool holds(const std::vector<Address>& addresses, const Address& address) {
  return std::find(addresses.begin(), addresses.end(), address) != addresses.end();
}

std::vector<Address> sources_now(const PoolRule& rule, const kernel::LocalAddresses& own) {
  std::vector<Address> now;
  const auto is_here = [&](const Address& address) {
    if (own.contains(address)) return true;
    const auto by_route = kernel::is_local_address(address);
    return by_route.is_known() ? by_route == true : holds(rule.sources, address);
  };
  const auto consider = [&](const Address& address) {
    if (now.size() < kLanesPerEntry && !holds(now, address) && is_here(address)) {
      now.push_back(address);
    }
  };
  for (const AddressPrefix& entry : rule.source_entries) {
    const std::uint64_t size = entry.size(kLanesPerEntry + 1);
    if (size <= kLanesPerEntry) {
      for (std::uint64_t i = 0; i < size; ++i) consider(entry.at(i));
      continue;
    }
    for (const auto* known : {&rule.sources, &own.all()}) {
      for (const Address& address : *known) {
        if (entry.contains(address)) consider(address);
      }
    }
  }
  return now;
}

void log_changes(const PoolRule& rule, const std::vector<Address>& now) {
  for (const Address& address : rule.sources) {
    if (holds(now, address)) continue;
    spdlog::warn("pool {}: source {} is gone from this host; it is used again when it is back",
                 rule.name, to_text(address));
  }
  for (const Address& address : now) {
    if (holds(rule.sources, address)) continue;
    spdlog::info("pool {}: source {} has come to this host", rule.name, to_text(address));
  }
  const auto of_v4 = [](const Address& address) { return is_v4(address); };
  const auto count_v4 = [&](const std::vector<Address>& of) {
    return static_cast<std::size_t>(std::count_if(of.begin(), of.end(), of_v4));
  };
  const std::size_t v4 = count_v4(now);
  const std::size_t v4_before = count_v4(rule.sources);
  const bool lost_v4 = v4 == 0 && v4_before > 0;
  const bool lost_v6 = now.size() == v4 && rule.sources.size() > v4_before;
  if (!lost_v4 && !lost_v6) return;
  const char* family = now.empty() ? "" : lost_v4 ? "IPv4 " : "IPv6 ";
  spdlog::warn(
      "pool {}: no {}source is left; connects to its {}destinations take the kernel's path "
      "(no_source) until one is back",
      rule.name, family, family);
}

}  // namespace

kernel::Answer<std::vector<std::uint32_t>> follow_sources(std::vector<PoolRule>& rules) {
  std::vector<std::uint32_t> changed;
  if (std::all_of(rules.begin(), rules.end(),
                  [](const PoolRule& rule) { return rule.source_entries.empty(); })) {
    return changed;
  }
  const auto own = kernel::local_addresses();
  if (!own) return kernel::Answer<std::vector<std::uint32_t>>::unknown(own.why());
  for (std::uint32_t i = 0; i < rules.size(); ++i) {
    std::vector<Address> now = sources_now(rules[i], *own);
    if (now == rules[i].sources) continue;
    log_changes(rules[i], now);
    rules[i].sources = std::move(now);
    changed.push_back(i);
  }
  return changed;
}

}  // namespace portpool
