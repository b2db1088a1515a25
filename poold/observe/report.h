// All that the segment tells, read once and added up.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lanes/lane_update.h"
#include "observe/daemon_times.h"
#include "portpool/attendance.h"
#include "portpool/results.h"
#include "portpool/segment.h"

namespace portpool {

// A histogram summed over shards. Its quantiles: quantile.h.
struct LatencySum {
  std::array<std::uint64_t, kLatencyBuckets> buckets{};
  std::uint64_t count = 0;
  std::uint64_t sum_ns = 0;
  std::uint64_t max_ns = 0;
  std::uint64_t cpu_ns = 0;  // of the calls sampled for it, in mode ab
  std::uint64_t cpu_samples = 0;
  std::uint64_t errors = 0;
  std::uint64_t no_port = 0;  // those with EADDRNOTAVAIL

  void add(const LatencyHistogram& histogram);
  void add(const LatencySum& other);
  // Takes an earlier reading of the same histogram away; max_ns becomes the end of the last bucket
  // left.
  void subtract(const LatencySum& earlier);
};

struct LatencyReport {
  Route arm;
  Route path;
  bool blocking;
  LatencySum latency;
};

struct LaneReport {
  LaneKey key;
  std::string pool;
  LaneCounts counts;
  std::uint64_t rejections = 0;
  std::uint64_t exhausted = 0;
  std::uint64_t connects = 0;  // about: LaneHints::connects
  // A second, of late. Null: not watched.
  std::optional<double> connect_rate;
  // Seconds until half of the ports cannot be claimed, at the rate of late: 0 when that is so
  // already, infinite where they do not become more. Null: not watched.
  std::optional<double> to_half;
  bool rewritten = false;  // out of use, since its destination is rewritten on the way
};

// The ports that programs are told which ask for one before they connect.
struct PromisesReport {
  Address source;  // unspecified: sockets bound to no address
  std::string pool;
  std::uint32_t capacity = 0;
  std::uint32_t free = 0;      // no socket has them
  std::uint32_t shared = 0;    // sockets have them, and others may be told them all the same
  std::uint32_t promised = 0;  // to sockets that are not connected yet
};

// A unit or program that the configuration names under [expect].
struct ExpectedReport {
  ExpectedKind kind = ExpectedKind::unit;
  std::string name;
  ExpectedState state = ExpectedState::unknown;

  bool is_missing() const {
    return state != ExpectedState::served && state != ExpectedState::unknown;
  }
};

struct Report {
  std::int32_t pid = 0;
  std::string version;
  std::string layout;
  std::uint64_t generation = 0;
  std::uint64_t heartbeat_age_ms = 0;
  std::uint64_t uptime_s = 0;
  bool stopped = false;
  bool elsewhere = false;  // poold is in another network namespace than who reads
  Control control{};
  std::uint16_t port_low = 0;
  std::uint16_t port_high = 0;
  std::uint32_t clients = 0;
  std::uint64_t attaches_refused = 0;
  std::array<std::uint64_t, kAttachRows> attaches{};
  std::vector<ExpectedReport> expected;
  std::uint64_t reconcile_passes = 0;
  std::uint64_t reconcile_cpu_ns = 0;
  std::array<std::uint64_t, kCounters> counters{};
  std::array<std::uint64_t, kFallbackReasons> fallbacks{};
  std::array<LatencyReport, kHistograms> latency{};
  std::vector<std::string> pools;  // their names, as configured
  std::vector<LaneReport> lanes;   // in service, fullest first; without those of promises
  std::vector<PromisesReport> promises;
  std::uint32_t lane_places = 0;  // so many lanes the table has room for

  // Destinations that poold keeps no lanes for because they are rewritten on the way, each once.
  std::vector<Endpoint> rewritten() const;
  std::size_t lanes_taken() const { return lanes.size() + promises.size(); }
  bool table_full() const { return lanes_taken() >= lane_places; }
  void set_times(const DaemonTimes& times) {
    heartbeat_age_ms = times.heartbeat_age_ms;
    uptime_s = times.uptime_s;
  }
  bool alive() const { return !stopped && heartbeat_age_ms <= kHeartbeatStaleMs; }
  std::uint64_t counter(Counter which) const { return counters[static_cast<std::size_t>(which)]; }
  // Connects that ended on this path with this result.
  std::uint64_t result(Route path, ConnectResult which) const {
    return counter(result_counter(path, which));
  }
  std::uint64_t result(ConnectResult which) const {
    return result(Route::pool, which) + result(Route::kernel, which);
  }
  // Connects that ended on this path, and their latency, over all arms and modes.
  LatencySum path(Route path) const;
  // What happened after `earlier`; lanes and gauges stay as they are.
  Report since(const Report& earlier) const;
};

// As it may be shown: "(damaged)" where it is not UTF-8.
std::string pool_name(const PoolInfo& pool);

// At once; where the daemon's clocks cannot be compared with ours, its times make no sense.
Report read_report(const SegmentView& view);
// Whether it lives is certain, by watched_daemon_times(): may take kHeartbeatStaleMs. And it tells
// whether this process is in the daemon's network namespace.
Report read_watched_report(const SegmentView& view);

const char* name_of(Mode mode);
const char* name_of(Route route);
const char* name_of(Strategy strategy);

std::string report_as_json(const Report& report);

}  // namespace portpool
