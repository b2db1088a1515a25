#include "compare/environment.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <set>

#include "base/address_text.h"
#include "base/text.h"
#include "kernel/proc_file.h"
#include "kernel/sysctl.h"

namespace portpool {
namespace {

constexpr const char* kSettings[] = {
    "net/ipv4/ip_local_port_range", "net/ipv4/ip_local_reserved_ports", "net/ipv4/tcp_tw_reuse",
    "net/ipv4/tcp_tw_reuse_delay",  "net/ipv4/tcp_timestamps",          "net/ipv4/tcp_fin_timeout",
    "net/ipv4/tcp_max_tw_buckets",
};

// What /proc/cpuinfo calls the first one; not every architecture names it.
std::string cpu_model() {
  const std::string text = kernel::read_proc_file("/proc/cpuinfo").value_or("");
  for (const char* name : {"model name", "Model", "cpu model", "uarch"}) {
    std::size_t at = text.starts_with(name) ? 0 : text.find(std::string("\n") + name);
    if (at == std::string::npos) continue;
    at = text.find(": ", at);
    if (at == std::string::npos) continue;
    return text.substr(at + 2, text.find('\n', at) - at - 2);
  }
  return "not named by /proc/cpuinfo";
}

// Over the last 1, 5 and 15 minutes.
std::string load_text() {
  const std::string text = kernel::read_proc_file("/proc/loadavg").value_or("");
  std::size_t end = 0;
  for (int i = 0; i < 3 && end != std::string::npos; ++i) end = text.find(' ', end + 1);
  return text.empty() ? "unknown" : text.substr(0, end);
}

std::string now_text() {
  return fmt::format("{:%Y-%m-%d %H:%M:%S} UTC", fmt::gmtime(std::time(nullptr)));
}

// The names of pools that have lanes.
std::string pools_text(const Report& report) {
  std::set<std::string> names;
  for (const LaneReport& lane : report.lanes) names.insert(lane.pool);
  return names.empty() ? "none used" : fmt::format("{}", fmt::join(names, ", "));
}

std::string lanes_text(const Report& report) {
  constexpr std::size_t kShown = 8;
  std::vector<std::string> lanes;
  for (std::size_t i = 0; i < report.lanes.size() && i < kShown; ++i) {
    const LaneReport& lane = report.lanes[i];
    lanes.push_back(fmt::format("{} to {} ({} ports)", to_text(lane.key.source),
                                to_text(destination_of(lane.key)), lane.counts.capacity));
  }
  if (report.lanes.size() > kShown) {
    lanes.push_back(fmt::format("{} more", report.lanes.size() - kShown));
  }
  return lanes.empty() ? "none" : fmt::format("{}", fmt::join(lanes, ", "));
}

}  // namespace

Entries describe_environment(const Report& report) {
  Entries entries;
  utsname system{};
  uname(&system);
  entries.emplace_back("measured", now_text());
  entries.emplace_back("host", system.nodename);
  entries.emplace_back("kernel",
                       fmt::format("{} {} {}", system.sysname, system.release, system.machine));
  entries.emplace_back("processors", std::to_string(sysconf(_SC_NPROCESSORS_ONLN)));
  entries.emplace_back("processor model", cpu_model());
  entries.emplace_back("load average at the end", load_text());
  entries.emplace_back("poold", fmt::format("{} (layout {})", report.version, report.layout));
  entries.emplace_back("strategy", name_of(report.control.strategy));
  entries.emplace_back("port range", fmt::format("{}-{}", report.port_low, report.port_high));
  entries.emplace_back("pools", pools_text(report));
  entries.emplace_back("lanes", lanes_text(report));
  entries.emplace_back("command line", own_command_line());
  for (const char* name : kSettings) {
    std::string text = kernel::read_sysctl_text(name).value().value_or("not there");
    std::replace(text.begin(), text.end(), '\t', ' ');
    std::string shown = name;
    std::replace(shown.begin(), shown.end(), '/', '.');
    entries.emplace_back(shown, text.empty() ? "none" : text);
  }
  return entries;
}

std::string command_line(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) {
    if (!text.empty()) text += ' ';
    text += shell_quote(word);
  }
  return text;
}

std::string own_command_line() {
  const std::string raw = kernel::read_proc_file("/proc/self/cmdline").value_or("");
  const auto strings = kernel::strings_in(raw);
  const std::vector<std::string> words(strings.begin(), strings.end());
  return command_line(words);
}

}  // namespace portpool
