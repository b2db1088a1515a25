#include "observe/metrics.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <map>
#include <utility>

#include "base/address_text.h"

namespace portpool {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

double to_seconds(std::uint64_t ns) { return static_cast<double>(ns) / 1e9; }

MetricFamily family(MetricType type, const char* name, const char* help) {
  return {name, help, type, {}};
}

void add(MetricFamily& to, Labels labels, double value) {
  ClientMetric metric;
  metric.label = std::move(labels);
  metric.counter.value = value;
  metric.gauge.value = value;
  to.metric.push_back(std::move(metric));
}

void add(MetricFamily& to, Labels labels, std::uint64_t value) {
  add(to, std::move(labels), static_cast<double>(value));
}

MetricFamily single(MetricType type, const char* name, const char* help, double value) {
  MetricFamily one = family(type, name, help);
  add(one, {}, value);
  return one;
}

MetricFamily build_info(const Report& report) {
  MetricFamily info = family(MetricType::Gauge, "portpool_build_info",
                             "1; version of the daemon and layout of its segment");
  add(info, {{"version", report.version}, {"layout", report.layout}}, 1.0);
  return info;
}

MetricFamily connects(const Report& report) {
  MetricFamily total = family(MetricType::Counter, "portpool_connects_total",
                              "TCP connects by the path they ended on and what they returned");
  for (const Route path : {Route::pool, Route::kernel}) {
    for (std::size_t i = 0; i < kConnectResults; ++i) {
      add(total, {{"path", name_of(path)}, {"result", std::string(kResultTexts[i].name)}},
          report.result(path, static_cast<ConnectResult>(i)));
    }
  }
  return total;
}

MetricFamily fallbacks(const Report& report) {
  MetricFamily total =
      family(MetricType::Counter, "portpool_fallbacks_total",
             "TCP connects that were the pool's and took the kernel's path, by reason");
  for (std::size_t i = 0; i < kFallbackReasons; ++i) {
    add(total, {{"reason", std::string(kFallbackTexts[i].name)}}, report.fallbacks[i]);
  }
  return total;
}

// The bounds are the powers of two at which the segment's octaves begin, so every bucket is a sum
// of the segment's. The segment's last bucket holds what is longer than all of them too: it goes
// to +Inf.
ClientMetric::Histogram histogram_of(const LatencySum& latency) {
  ClientMetric::Histogram histogram;
  std::uint64_t seen = 0;
  for (unsigned octave = kLatencyFirstOctave; octave < kLatencyLastOctave; ++octave) {
    const std::size_t first = (octave - kLatencyFirstOctave) << kLatencySubBits;
    for (std::size_t i = first; i < first + (1U << kLatencySubBits); ++i) {
      seen += latency.buckets[i];
    }
    histogram.bucket.push_back({seen, to_seconds(std::uint64_t{2} << octave)});
  }
  histogram.sample_count = latency.count;
  histogram.sample_sum = to_seconds(latency.sum_ns);
  return histogram;
}

MetricFamily durations(const Report& report) {
  MetricFamily all = family(MetricType::Histogram, "portpool_connect_duration_seconds",
                            "Time from entry to return of a TCP connect, by the arm assigned to "
                            "it, the path it ended on, and mode");
  for (const LatencyReport& part : report.latency) {
    // The kernel's arm never ends on the pool's path.
    const bool impossible = part.arm == Route::kernel && part.path == Route::pool;
    if (impossible && part.latency.count == 0) continue;
    ClientMetric metric;
    metric.label = {{"arm", name_of(part.arm)},
                    {"path", name_of(part.path)},
                    {"mode", part.blocking ? "blocking" : "nonblocking"}};
    metric.histogram = histogram_of(part.latency);
    all.metric.push_back(std::move(metric));
  }
  return all;
}

struct PortSums {
  std::uint64_t in_use = 0;
  std::uint64_t quarantined = 0;
  std::uint64_t blocked = 0;
  std::uint64_t free = 0;

  void add(const LaneCounts& lane) {
    in_use += lane.in_use;
    quarantined += lane.quarantined;
    blocked += lane.blocked;
    free += lane.free;
  }
};

void add_states(MetricFamily& to, const Labels& labels, const PortSums& ports) {
  for (const auto& [state, count] : {std::pair{"in_use", ports.in_use},
                                     {"quarantined", ports.quarantined},
                                     {"blocked", ports.blocked},
                                     {"free", ports.free}}) {
    Labels with_state = labels;
    with_state.push_back({"state", state});
    add(to, std::move(with_state), count);
  }
}

double saturation_of(const LaneCounts& lane) {
  if (lane.capacity == 0) return 1;
  return 1 - static_cast<double>(lane.free) / static_cast<double>(lane.capacity);
}

void add_lanes(const Report& report, std::vector<MetricFamily>& out) {
  MetricFamily ports = family(MetricType::Gauge, "portpool_lane_ports",
                              "Ports of the fullest lanes by state; the other lanes of a pool "
                              "together have source and destination \"other\"");
  MetricFamily saturation =
      family(MetricType::Gauge, "portpool_lane_saturation_ratio",
             "Share of a lane's ports that cannot be claimed, 0 to 1; the fullest lanes only");
  MetricFamily pools = family(MetricType::Gauge, "portpool_pool_ports",
                              "Ports of all lanes of a pool together, by state");
  std::map<std::string, PortSums> others;
  std::map<std::string, PortSums> sums;
  for (const std::string& name : report.pools) sums[name];
  for (std::size_t i = 0; i < report.lanes.size(); ++i) {
    const LaneReport& lane = report.lanes[i];
    sums[lane.pool].add(lane.counts);
    if (i >= kMetricLanes) {
      others[lane.pool].add(lane.counts);
      continue;
    }
    const Labels labels = {{"pool", lane.pool},
                           {"source", to_text(lane.key.source)},
                           {"destination", to_text(destination_of(lane.key))}};
    PortSums own;
    own.add(lane.counts);
    add_states(ports, labels, own);
    add(saturation, labels, saturation_of(lane.counts));
  }
  for (const auto& [pool, rest] : others) {
    add_states(ports, {{"pool", pool}, {"source", "other"}, {"destination", "other"}}, rest);
  }
  for (const auto& [pool, sum] : sums) add_states(pools, {{"pool", pool}}, sum);
  out.insert(out.end(), {std::move(ports), std::move(saturation), std::move(pools)});
}

MetricFamily reconcile(const Report& report) {
  MetricFamily passes = family(MetricType::Summary, "portpool_reconcile_duration_seconds",
                               "CPU time of the passes that compare the lanes with the kernel");
  ClientMetric metric;
  metric.summary.sample_count = report.reconcile_passes;
  metric.summary.sample_sum = to_seconds(report.reconcile_cpu_ns);
  passes.metric.push_back(std::move(metric));
  return passes;
}

MetricFamily attach_results(const Report& report) {
  MetricFamily total = family(MetricType::Counter, "portpool_attaches_total",
                              "Processes that came for the segment, by what became of them");
  for (std::size_t i = 0; i < kAttachRows; ++i) {
    add(total, {{"result", std::string(kAttachTexts[i].name)}}, report.attaches[i]);
  }
  return total;
}

MetricFamily config_reloads(const DaemonFigures& daemon) {
  MetricFamily total = family(MetricType::Counter, "portpool_config_reloads_total",
                              "Times that the configuration was read again, by result");
  add(total, {{"result", "taken"}}, daemon.reloads_taken);
  add(total, {{"result", "refused"}}, daemon.reloads_refused);
  return total;
}

// Those that have not been looked for yet are left out.
MetricFamily expected_clients(const Report& report) {
  MetricFamily all = family(MetricType::Gauge, "portpool_expected_clients",
                            "1: a process of this unit or program, which the configuration "
                            "expects, is attached and served; 0: none is");
  for (const ExpectedReport& one : report.expected) {
    if (one.state == ExpectedState::unknown) continue;
    const std::string kind(kExpectedKinds[static_cast<std::size_t>(one.kind)]);
    add(all, {{"kind", kind}, {"name", one.name}}, one.is_missing() ? 0.0 : 1.0);
  }
  return all;
}

double host_ports(const Report& report) {
  return report.port_low > report.port_high ? 0 : report.port_high - report.port_low + 1;
}

}  // namespace

std::string metrics_text(const Report& report, const DaemonFigures& daemon) {
  std::vector<MetricFamily> all = {
      build_info(report),
      connects(report),
      fallbacks(report),
      single(MetricType::Counter, "portpool_rejections_total",
             "Claimed ports that the kernel refused; another one was tried",
             static_cast<double>(report.counter(Counter::k_rejections))),
      durations(report),
  };
  add_lanes(report, all);
  all.insert(
      all.end(),
      {single(MetricType::Gauge, "portpool_clients", "Attached processes known to be alive",
              report.clients),
       single(MetricType::Gauge, "portpool_heartbeat_age_seconds",
              "Time since the daemon's event loop last showed that it lives",
              static_cast<double>(report.heartbeat_age_ms) / 1000),
       reconcile(report),
       single(MetricType::Gauge, "portpool_lane_table_places",
              "Number of lanes that the table has room for (max_lanes)", report.lane_places),
       single(MetricType::Gauge, "portpool_lane_table_in_service",
              "Lanes in service; with as many as places, new destinations take the kernel's "
              "path until lanes come free",
              static_cast<double>(report.lanes_taken())),
       single(MetricType::Gauge, "portpool_host_ports_range",
              "Number of ports in net.ipv4.ip_local_port_range", host_ports(report)),
       single(MetricType::Gauge, "portpool_config_last_reload_successful",
              "1: the configuration in force is the one read last; 0: that one was refused",
              daemon.last_reload_taken ? 1 : 0),
       config_reloads(daemon),
       single(MetricType::Gauge, "portpool_config_hash",
              "A number made of the configuration in force: the same text, the same number",
              daemon.config_hash),
       single(MetricType::Gauge, "portpool_start_time_seconds",
              "When this daemon started, since the Unix epoch", to_seconds(daemon.started_ns)),
       attach_results(report)});
  if (!report.expected.empty()) all.push_back(expected_clients(report));
  return prometheus::TextSerializer().Serializer::Serialize(all);
}

}  // namespace portpool
