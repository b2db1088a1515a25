// Services inside the port range: a restart may find the port given to an outgoing connection.
#include <fmt/format.h>

#include <map>

#include "base/address_text.h"
#include "doctor/checks.h"

namespace portpool::doctor {
namespace {

// The whole setting with these ports added.
std::string reserve_command(const Facts& facts, const std::map<std::uint16_t, std::string>& ports) {
  std::string list;
  for (const kernel::PortRange& range : facts.settings.reserved) {
    list += fmt::format("{}{}", list.empty() ? "" : ",", range.low);
    if (range.high != range.low) list += fmt::format("-{}", range.high);
  }
  for (const auto& [port, who] : ports) list += fmt::format("{}{}", list.empty() ? "" : ",", port);
  return "sysctl -w net.ipv4.ip_local_reserved_ports=\"" + list + "\"";
}

bool is_reserved(const Facts& facts, std::uint16_t port) {
  for (const kernel::PortRange& range : facts.settings.reserved) {
    if (port >= range.low && port <= range.high) return true;
  }
  return false;
}

}  // namespace

Check check_listeners(const Facts& facts) {
  constexpr std::size_t kShownPorts = 20;
  if (!facts.census) return not_known(facts.census_error);
  const Census& census = *facts.census;
  std::map<std::uint16_t, std::string> ports;  // with who listens
  for (const LocalSocket& socket : census.listeners) {
    const std::uint16_t port = socket.local.port;
    if (!census.plan.in_range(port) || is_reserved(facts, port) || ports.contains(port)) continue;
    const kernel::ProcessRecord* holder = facts.owners.scan.holder_of(socket.inode);
    ports[port] = holder != nullptr ? fmt::format("{} (pid {})", holder->name, holder->pid) : "?";
  }
  Check check;
  check.evidence = {{"in_range", ports.size()}, {"listeners", Json::array()}};
  if (ports.empty()) {
    check.summary = "no service listens inside the port range, or its port is reserved";
    return check;
  }
  std::string list;
  for (const auto& [port, who] : ports) {
    if (check.evidence["listeners"].size() >= kShownPorts) break;
    check.evidence["listeners"].push_back({{"port", port}, {"process", who}});
    list += fmt::format("{}{} {}", list.empty() ? "" : ", ", port, who);
  }
  check.status = Status::warn;
  check.summary = fmt::format(
      "{} inside the port range and {} not reserved: restarted, a service may "
      "find its port taken (EADDRINUSE)",
      counted(ports.size(), "listening port is", "listening ports are"),
      ports.size() == 1 ? "is" : "are");
  check.lines.push_back(list + (ports.size() > kShownPorts ? ", ..." : ""));
  if (ports.size() <= kShownPorts)
    check.fix = reserve_command(facts, ports);
  else
    check.fix = "move the services out of the range, or add their ports to ip_local_reserved_ports";
  return check;
}

}  // namespace portpool::doctor
