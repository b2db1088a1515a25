// The configured pools: which rule a destination falls under.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/address_text.h"
#include "kernel/sysctl.h"
#include "portpool/port_rules.h"

namespace portpool {

// "10.0.4.0/24:443", "[2001:db8::]/32", "10.0.0.1": a prefix and perhaps one port.
struct DestinationPattern {
  AddressPrefix prefix;
  std::uint16_t port = 0;  // 0: any

  bool matches(const Endpoint& destination) const {
    return (port == 0 || port == destination.port) && prefix.contains(destination.address);
  }
};

std::optional<DestinationPattern> parse_destination(std::string_view text);
std::string to_text(const DestinationPattern& pattern);

enum class SourcePolicy { fill, balance };
enum class OnExhaustion { kernel, fail_fast };
// What a program is told that asks for the port of a socket before it connects it.
enum class EarlyBind { promise, real };

// When the pool cannot serve a call: the kernel's path, whatever port it has, or within port_range.
enum class OutsideRange { kernel, refuse };

struct PoolRule {
  std::string name = "default";
  std::vector<DestinationPattern> destinations;  // empty: every destination
  std::vector<DestinationPattern> exclude;       // but these, which fall to the rules after it
  bool serves = true;                            // false: what it matches has no lanes
  std::vector<AddressPrefix> source_entries;     // empty: the address that routing picks
  std::vector<Address> sources;                  // those of the entries that this host has now
  SourcePolicy source_policy = SourcePolicy::fill;
  OnExhaustion on_exhaustion = OnExhaustion::kernel;
  EarlyBind early_bind = EarlyBind::promise;
  OutsideRange outside_range = OutsideRange::kernel;
  std::optional<kernel::PortRange> port_range;  // default: ip_local_port_range

  bool matches(const Endpoint& destination) const;
  bool names(const Address& source) const;
};

// Of ports that sockets are bound to: the kernel would give some of them to other programs.
bool is_shared_with_others(const kernel::PortRange& ports, const kernel::PortRange& local,
                           const std::vector<kernel::PortRange>& reserved);

// What programs are told of rules with OutsideRange::refuse; nothing when there is none.
std::vector<PortRule> port_rules(const std::vector<PoolRule>& rules);

// The index of the first rule that matches; the last rule matches everything.
std::uint32_t rule_for(const std::vector<PoolRule>& rules, const Endpoint& destination);
// Before the destination is known: the first rule that names `source`; if none does, the first that
// is for every destination.
std::uint32_t rule_for_promises(const std::vector<PoolRule>& rules, const Address& source);

}  // namespace portpool
