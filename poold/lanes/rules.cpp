#include "lanes/rules.h"

#include <algorithm>

#include "base/parse_number.h"

namespace portpool {
namespace {

// Splits "[v6]/n:p", "[v6]:p", "v4/n:p" into prefix text and port text.
struct Parts {
  std::string prefix;
  std::optional<std::string_view> port;
};

// "/n:p", "/n", ":p" or nothing.
std::optional<Parts> split_after(std::string_view address, std::string_view rest) {
  if (!rest.empty() && rest.front() != '/' && rest.front() != ':') return std::nullopt;
  const std::size_t colon = rest.find(':');
  Parts parts{std::string(address) + std::string(rest.substr(0, colon)), std::nullopt};
  if (colon != std::string_view::npos) parts.port = rest.substr(colon + 1);
  return parts;
}

std::optional<Parts> split(std::string_view text) {
  if (text.starts_with('[')) {
    const std::size_t close = text.find(']');
    if (close == std::string_view::npos) return std::nullopt;
    return split_after(text.substr(1, close - 1), text.substr(close + 1));
  }
  // More than one colon: an IPv6 address without brackets, and so without a port.
  if (text.find(':') != text.rfind(':')) return Parts{std::string(text), std::nullopt};
  const std::size_t end = std::min(text.find_first_of("/:"), text.size());
  return split_after(text.substr(0, end), text.substr(end));
}

}  // namespace

std::optional<DestinationPattern> parse_destination(std::string_view text) {
  const auto parts = split(text);
  if (!parts) return std::nullopt;
  const auto prefix = parse_prefix(parts->prefix);
  if (!prefix) return std::nullopt;
  DestinationPattern pattern{*prefix, 0};
  if (parts->port) {
    const auto port = whole_number<std::uint16_t>(*parts->port);
    if (!port || *port == 0) return std::nullopt;
    pattern.port = *port;
  }
  return pattern;
}

std::string to_text(const DestinationPattern& pattern) {
  const std::string port = pattern.port != 0 ? ":" + std::to_string(pattern.port) : "";
  const std::string prefix = to_text(pattern.prefix);
  const std::size_t slash = std::min(prefix.find('/'), prefix.size());
  if (is_v4(pattern.prefix.base) || port.empty()) return prefix + port;
  return "[" + prefix.substr(0, slash) + "]" + prefix.substr(slash) + port;
}

bool PoolRule::matches(const Endpoint& destination) const {
  const auto fits = [&](const DestinationPattern& p) { return p.matches(destination); };
  return (destinations.empty() || std::any_of(destinations.begin(), destinations.end(), fits)) &&
         std::none_of(exclude.begin(), exclude.end(), fits);
}

bool is_shared_with_others(const kernel::PortRange& ports, const kernel::PortRange& local,
                           const std::vector<kernel::PortRange>& reserved) {
  const bool covered = std::any_of(reserved.begin(), reserved.end(), [&](const auto& r) {
    return r.low <= ports.low && r.high >= ports.high;
  });
  return !covered && ports.low <= local.high && ports.high >= local.low;
}

std::vector<PortRule> port_rules(const std::vector<PoolRule>& rules) {
  std::vector<PortRule> rows;
  const auto refuses = [](const PoolRule& rule) {
    return rule.outside_range == OutsideRange::refuse;
  };
  if (std::none_of(rules.begin(), rules.end(), refuses)) return rows;
  for (std::uint32_t i = 0; i < rules.size(); ++i) {
    const PoolRule& rule = rules[i];
    const PortRange range = refuses(rule) && rule.port_range ? *rule.port_range : PortRange{};
    const auto add = [&](const DestinationPattern& pattern, bool left_out) {
      rows.push_back({pattern.prefix.base, pattern.prefix.bits, i, pattern.port, left_out, range});
    };
    for (const DestinationPattern& pattern : rule.exclude) add(pattern, true);
    for (const DestinationPattern& pattern : rule.destinations) add(pattern, false);
    if (rule.destinations.empty()) add({}, false);
  }
  return rows;
}

bool PoolRule::names(const Address& source) const {
  return std::any_of(source_entries.begin(), source_entries.end(),
                     [&](const AddressPrefix& entry) { return entry.contains(source); });
}

namespace {

// The last one matches everything.
template <class Matches>
std::uint32_t first_rule(const std::vector<PoolRule>& rules, Matches matches) {
  const auto found = std::find_if(rules.begin(), rules.end() - 1, matches);
  return static_cast<std::uint32_t>(found - rules.begin());
}

}  // namespace

std::uint32_t rule_for(const std::vector<PoolRule>& rules, const Endpoint& destination) {
  return first_rule(rules, [&](const PoolRule& rule) { return rule.matches(destination); });
}

std::uint32_t rule_for_promises(const std::vector<PoolRule>& rules, const Address& source) {
  const std::uint32_t naming =
      first_rule(rules, [&](const PoolRule& rule) { return rule.names(source); });
  if (rules[naming].names(source)) return naming;
  return first_rule(rules, [](const PoolRule& rule) { return rule.destinations.empty(); });
}

}  // namespace portpool
