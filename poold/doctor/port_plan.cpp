#include "doctor/port_plan.h"

namespace portpool::doctor {

PortPlan make_plan(kernel::PortRange range, const std::vector<kernel::PortRange>& reserved,
                   const PortSet& taken) {
  PortPlan plan;
  plan.range = range;
  plan.count = range.high - range.low + 1U;
  PortSet skipped;
  for (const kernel::PortRange& part : reserved) {
    for (std::uint32_t port = part.low; port <= part.high; ++port) skipped.set(port);
  }
  for (std::uint32_t port = range.low; port <= range.high; ++port) {
    if (skipped[port]) {
      ++plan.reserved;
    } else if (taken[port]) {
      ++plan.taken;
    } else if (port != range.high || !plan.odd() || plan.count == 1) {
      plan.is_usable.set(port);
      ++plan.usable;
      if (plan.tried_first(static_cast<std::uint16_t>(port))) ++plan.first;
    }
  }
  return plan;
}

std::optional<kernel::PortRange> wider_range(kernel::PortRange now, const PortSet& listening) {
  constexpr std::uint32_t kLowest = 1024;  // below: privileged ports
  std::uint32_t low = now.low;
  while (low > kLowest && !listening[low - 1]) --low;
  std::uint32_t high = now.high;
  while (high < 65535 && !listening[high + 1]) ++high;
  if ((high - low) % 2 == 0) low < now.low ? ++low : --high;
  const std::uint32_t count = high - low + 1;
  if (high < low || count <= now.high - now.low + 1U) return std::nullopt;
  return kernel::PortRange{static_cast<std::uint16_t>(low), static_cast<std::uint16_t>(high)};
}

}  // namespace portpool::doctor
