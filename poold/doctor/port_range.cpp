// ip_local_port_range itself, what is left of it, and poold's own ranges.
#include <fmt/format.h>

#include <algorithm>

#include "doctor/checks.h"
#include "doctor/outlook.h"

namespace portpool::doctor {
namespace {

constexpr unsigned kTiny = 4096;
constexpr unsigned kPrivileged = 1024;

std::string range_text(kernel::PortRange range) {
  return fmt::format("{}-{}", range.low, range.high);
}

// The same range without its last port, or with one more.
std::string even_range(kernel::PortRange range) {
  const int low = range.low;
  const int high = range.high < 65535 ? range.high + 1 : range.high - 1;
  return fmt::format("sysctl -w net.ipv4.ip_local_port_range=\"{} {}\"", low, high);
}

// Of what is reserved now, in the form of the setting.
std::string needed_reservations(const Facts& facts) {
  const Census& census = *facts.census;
  std::string list;
  const auto add = [&](int low, int high) {
    if (low > high) return;
    list += fmt::format("{}{}", list.empty() ? "" : ",", low);
    if (high > low) list += fmt::format("-{}", high);
  };
  for (const kernel::PortRange& part : facts.settings.reserved) {
    const kernel::PortRange range = census.plan.range;
    add(part.low, std::min<int>(part.high, range.low - 1));
    for (int port = std::max(part.low, range.low); port <= std::min(part.high, range.high);
         ++port) {
      if (census.listening[static_cast<std::size_t>(port)]) add(port, port);
    }
    add(std::max<int>(part.low, range.high + 1), part.high);
  }
  return list;
}

}  // namespace

Check check_port_range(const Facts& facts) {
  if (!facts.census) return not_known(facts.census_error);
  const PortPlan& plan = facts.census->plan;
  const std::string range = range_text(plan.range);
  Check check;
  check.evidence = {{"low", plan.range.low},     {"high", plan.range.high},
                    {"count", plan.count},       {"even_count", !plan.odd()},
                    {"usable", plan.usable},     {"tried_first", plan.first},
                    {"reserved", plan.reserved}, {"taken", plan.taken}};
  check.summary =
      fmt::format("{}: {} ports, {} of them usable for each destination; cliff at {}", range,
                  count_text(plan.count), count_text(plan.usable), count_text(plan.first));
  if (plan.count < kTiny) {
    check.status = Status::warn;
    check.summary = fmt::format("{}: only {}, so at most that many connections to one destination",
                                range, counted(plan.count, "port", "ports"));
    check.fix = widen_command(*facts.census);
    if (check.fix.empty()) check.fix = "sysctl -w net.ipv4.ip_local_port_range=\"32768 60999\"";
  } else if (plan.range.low < kPrivileged) {
    check.status = Status::warn;
    check.summary = fmt::format(
        "{} includes privileged ports: outgoing connections take those of "
        "services that start later",
        range);
    check.fix = fmt::format("sysctl -w net.ipv4.ip_local_port_range=\"1024 {}\"",
                            plan.range.high % 2 == 0 ? plan.range.high - 1 : plan.range.high);
  } else if (plan.odd()) {
    check.status = Status::warn;
    check.summary = fmt::format(
        "{} is an odd number of ports ({}): the kernel never takes the last one, "
        "{}, by itself",
        range, count_text(plan.count), plan.range.high);
    check.fix = even_range(plan.range);
  }
  return check;
}

Check check_reserved_ports(const Facts& facts) {
  if (!facts.census) return not_known(facts.census_error);
  const PortPlan& plan = facts.census->plan;
  Check check;
  check.evidence = {{"in_range", plan.reserved}, {"range", plan.count}};
  if (plan.reserved == 0) {
    check.summary = "none inside the port range";
    return check;
  }
  check.summary =
      fmt::format("{} of the {} ports of {} are reserved ({}): not for outgoing connections",
                  count_text(plan.reserved), count_text(plan.count), range_text(plan.range),
                  percent(plan.reserved, plan.count));
  constexpr unsigned kNotable = 10;  // one part in
  if (plan.reserved * kNotable < plan.count) return check;
  check.status = plan.reserved * 2 >= plan.count ? Status::fail : Status::warn;
  const std::string kept = needed_reservations(facts);
  check.fix = fmt::format(
      "keep only what services need; this keeps what lies outside the range or is listened on now: "
      "sysctl -w net.ipv4.ip_local_reserved_ports=\"{}\"",
      kept);
  return check;
}

Check check_pool_ranges(const Facts& facts) {
  if (!facts.config) return no_config();
  if (facts.config->binds) {
    Check any;
    any.summary = "strategy = \"bind\": ports inside and outside of ip_local_port_range will do";
    return any;
  }
  if (!facts.settings.range) return not_known("ip_local_port_range cannot be read");
  const kernel::PortRange local = *facts.settings.range;
  Check check;
  check.evidence["pools"] = Json::array();
  for (const ConfigFacts::PoolRange& pool : facts.config->ranges) {
    const int low = std::max(local.low, pool.range.low);
    const int high = std::min(local.high, pool.range.high);
    const int overlap = std::max(0, high - low + 1);
    const int wanted = pool.range.high - pool.range.low + 1;
    int reserved = 0;
    for (const kernel::PortRange& part : facts.settings.reserved) {
      reserved += std::max(0, std::min<int>(high, part.high) - std::max<int>(low, part.low) + 1);
    }
    check.evidence["pools"].push_back({{"name", pool.name},
                                       {"low", pool.range.low},
                                       {"high", pool.range.high},
                                       {"usable", overlap - reserved},
                                       {"reserved", reserved}});
    const Status status = overlap - reserved <= 0                        ? Status::fail
                          : overlap < wanted || reserved * 10 >= overlap ? Status::warn
                                                                         : Status::ok;
    if (status <= check.status) continue;
    check.status = status;
    check.summary = fmt::format(
        "pool \"{}\" wants {}, of which {} ports lie in ip_local_port_range "
        "({}) and {} of those are reserved",
        pool.name, range_text(pool.range), count_text(static_cast<std::uint64_t>(overlap)),
        range_text(local), count_text(static_cast<std::uint64_t>(reserved)));
    check.fix = fmt::format(
        "set port_range = \"{}\" for it, or widen: sysctl -w "
        "net.ipv4.ip_local_port_range=\"{} {}\"",
        range_text(local), std::min(local.low, pool.range.low),
        std::max(local.high, pool.range.high));
  }
  if (check.status == Status::ok) {
    check.summary = facts.config->ranges.empty()
                        ? "no pool names a port_range: all use ip_local_port_range"
                        : "all inside ip_local_port_range";
  }
  return check;
}

}  // namespace portpool::doctor
