#include "doctor/facts.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <filesystem>

#include "base/text.h"
#include "kernel/proc_file.h"

namespace portpool::doctor {
namespace {

namespace fs = std::filesystem;

// sysctl.d(5): where settings are kept for the next boot.
constexpr const char* kSysctlPlaces[] = {"/etc/sysctl.conf", "/etc/sysctl.d", "/run/sysctl.d",
                                         "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d"};

void read_file_into(const fs::path& path, std::vector<ConfiguredSetting>& settings) {
  constexpr std::size_t kLargest = std::size_t{1} << 20;
  const auto text = kernel::read_proc_file(path.string(), kLargest);
  if (!text) return;
  for (ConfiguredSetting& setting : parse_sysctl_file(*text, path.string())) {
    settings.push_back(std::move(setting));
  }
}

std::vector<ConfiguredSetting> read_configured() {
  std::vector<ConfiguredSetting> settings;
  for (const fs::path place : kSysctlPlaces) {
    std::error_code error;
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(place, error)) {
      if (entry.path().extension() == ".conf") files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
    if (error && fs::is_regular_file(place, error)) files.push_back(place);
    for (const fs::path& file : files) read_file_into(file, settings);
  }
  return settings;
}

constexpr std::string_view kBlanks = " \t\r";

using PortList = std::vector<kernel::PortRange>;

// The value, if there is one; the first thing that could not be read goes to `unknown`.
template <class Value>
std::optional<Value> known(const kernel::Answer<Value>& answer, std::string& unknown) {
  if (!answer.is_known() && unknown.empty()) unknown = answer.why();
  return answer.value();
}

}  // namespace

std::uint64_t Facts::counter(std::string_view name) const {
  const auto found = counters.find(name);
  return found != counters.end() ? found->second : 0;
}

std::optional<std::uint64_t> Facts::grown(std::string_view name) const {
  if (!earlier) return std::nullopt;
  const auto found = earlier->find(name);
  const std::uint64_t before = found != earlier->end() ? found->second : 0;
  return counter(name) - std::min(before, counter(name));
}

std::vector<ConfiguredSetting> parse_sysctl_file(std::string_view text, const std::string& file) {
  std::vector<ConfiguredSetting> settings;
  for (unsigned number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = trimmed(text.substr(0, end), kBlanks);
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::size_t equals = line.find('=');
    if (line.starts_with('#') || line.starts_with(';') || equals == std::string_view::npos)
      continue;
    if (line.starts_with('-')) line.remove_prefix(1);  // "ignore when it cannot be set"
    const std::size_t sign = line.find('=');
    std::string name(trimmed(line.substr(0, sign), kBlanks));
    // sysctl.d(5): written with slashes, dots are part of the name.
    if (name.find('/') < name.find('.')) std::replace(name.begin(), name.end(), '/', '.');
    settings.push_back(
        {file, number, std::move(name), std::string(trimmed(line.substr(sign + 1), kBlanks))});
  }
  return settings;
}

Settings read_settings() {
  Settings settings;
  settings.range = known(kernel::local_port_range(), settings.unknown);
  settings.reserved = known(kernel::reserved_ports(), settings.unknown).value_or(PortList{});
  settings.tw_reuse = kernel::read_sysctl("net/ipv4/tcp_tw_reuse").value();
  settings.tw_reuse_delay = kernel::read_sysctl("net/ipv4/tcp_tw_reuse_delay").value();
  settings.timestamps = kernel::read_sysctl("net/ipv4/tcp_timestamps").value();
  settings.tw_recycle = kernel::read_sysctl("net/ipv4/tcp_tw_recycle").value();
  settings.fin_timeout = kernel::read_sysctl("net/ipv4/tcp_fin_timeout").value();
  settings.max_tw_buckets = kernel::read_sysctl("net/ipv4/tcp_max_tw_buckets").value();
  settings.max_orphans = kernel::read_sysctl("net/ipv4/tcp_max_orphans").value();
  settings.orphan_retries = kernel::read_sysctl("net/ipv4/tcp_orphan_retries").value();
  // Without the setting, a port in TIME_WAIT is not taken over.
  settings.reuse =
      known(kernel::time_wait_reuse(), settings.unknown).value_or(kernel::TimeWaitReuse{});
  return settings;
}

std::optional<CensusRules> census_rules(const Settings& settings) {
  if (!settings.range || !settings.unknown.empty()) return std::nullopt;
  return CensusRules{*settings.range, settings.reserved, settings.reuse};
}

void count_sockets(Facts& facts) {
  facts.settings = read_settings();
  if (const auto rules = census_rules(facts.settings)) {
    try {
      kernel::SockDiag sock_diag;
      facts.census = take_census(sock_diag, *rules);
    } catch (const std::exception& error) {
      facts.census_error = error.what();
    }
  } else {
    facts.census_error = facts.settings.unknown;
  }
}

Facts gather_facts(const std::string& daemon_socket) {
  const auto begin = std::chrono::steady_clock::now();
  Facts facts;
  facts.features = kernel::probe_features();
  count_sockets(facts);
  check::Daemons daemons(daemon_socket);
  facts.daemon = daemons.asked();
  if (facts.census) facts.owners = find_owners(*facts.census, daemons);
  facts.statistics = kernel::socket_statistics();
  facts.counters = kernel::netstat_counters();
  facts.conntrack = kernel::conntrack();
  facts.configured = read_configured();
  facts.took_ms =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
  return facts;
}

}  // namespace portpool::doctor
