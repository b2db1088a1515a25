// Everything that the checks look at, read once. Checks are pure functions of it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "doctor/census.h"
#include "doctor/ownership.h"
#include "kernel/features.h"
#include "kernel/proc_net.h"
#include "kernel/sysctl.h"

namespace portpool::doctor {

// nullopt: this kernel has no such setting, or shows it in the first network namespace only.
struct Settings {
  std::optional<kernel::PortRange> range;
  std::vector<kernel::PortRange> reserved;
  std::optional<long> tw_reuse;
  std::optional<long> tw_reuse_delay;
  std::optional<long> timestamps;
  std::optional<long> tw_recycle;
  std::optional<long> fin_timeout;
  std::optional<long> max_tw_buckets;
  std::optional<long> max_orphans;
  std::optional<long> orphan_retries;
  kernel::TimeWaitReuse reuse;  // what the above come to
  // Not empty: range, reserved or reuse could not be read, and why; nothing is counted by them.
  std::string unknown;
};

// A line in the files that set sysctls at boot.
struct ConfiguredSetting {
  std::string file;
  unsigned line = 0;
  std::string name;  // "net.ipv4.tcp_tw_recycle"
  std::string value;
};

// What poold's configuration says that can be held against this host.
struct ConfigFacts {
  struct PoolRange {
    std::string name;
    kernel::PortRange range;
  };
  std::vector<PoolRange> ranges;            // of the pools that name one
  bool binds = false;                       // strategy = "bind": any port will do
  std::vector<std::string> absent_sources;  // which, and what is so of each
  std::vector<std::string> idle_rules;      // what no destination falls under, and names used twice
};

struct LaneTableState {  // of the daemon that runs here
  std::uint32_t places = 0;
  std::uint32_t in_service = 0;
  std::uint64_t without_lane = 0;      // connects on the kernel's path for want of a lane, so far
  std::vector<std::string> rewritten;  // destinations that are rewritten inside connect()
  std::uint64_t without_source = 0;    // connects that found none of their pool's sources, so far
};

// Those that the configuration of the daemon that runs here expects.
struct ExpectedClients {
  struct Missing {
    std::string kind;  // "unit", "program"
    std::string name;
    std::string state;  // "absent", ...
    std::string text;   // the same as a sentence
  };
  std::size_t count = 0;
  std::vector<Missing> missing;
};

// What goes wrong with connects under the library up to now, by the daemon's record.
struct ConnectTrouble {
  std::string since;    // "10:32:05", local time
  std::string lasted;   // "14m03s"
  bool longer = false;  // since before the record begins
  std::uint64_t affected = 0;
  std::uint64_t connects = 0;
  std::string reason;  // a fallback reason's name; empty: none
};
struct ConnectRecord {
  std::optional<ConnectTrouble> missed;   // connects that should have come from the pool
  std::optional<ConnectTrouble> no_port;  // connects that failed with EADDRNOTAVAIL
  std::string from;                       // when the record begins
};

struct Facts {
  kernel::KernelFeatures features;
  Settings settings;
  std::optional<Census> census;  // nullopt: the kernel lists no sockets here
  std::string census_error;
  Ownership owners;
  std::optional<kernel::SocketStatistics> statistics;
  kernel::NetstatCounters counters;
  std::optional<kernel::NetstatCounters> earlier;  // of the look before this one, with --watch
  std::optional<kernel::Conntrack> conntrack;
  std::vector<ConfiguredSetting> configured;
  std::optional<ConfigFacts> config;         // nullopt: none was given
  std::optional<LaneTableState> lane_table;  // nullopt: no daemon, or none that lets us look
  std::optional<ExpectedClients> expected;   // nullopt: the same
  std::optional<ConnectRecord> record;       // nullopt: the same
  check::DaemonFacts daemon;                 // where poold is expected
  double took_ms = 0;

  std::uint64_t counter(std::string_view name) const;
  // How much it has grown since the look before; nullopt at the first one.
  std::optional<std::uint64_t> grown(std::string_view name) const;
};

// `daemon_socket`: where poold is expected. What a configuration and a daemon say is not filled in.
// Fills in settings and census, or why there is none.
void count_sockets(Facts& facts);
Facts gather_facts(const std::string& daemon_socket);

// Rules for counting sockets under these settings; nullopt when they are not known.
std::optional<CensusRules> census_rules(const Settings& settings);
Settings read_settings();

// Lines "name = value" of a sysctl.conf(5) file, names with dots.
std::vector<ConfiguredSetting> parse_sysctl_file(std::string_view text, const std::string& file);

}  // namespace portpool::doctor
