#include "observe/report.h"

#include <algorithm>
#include <cstring>

#include "base/text.h"
#include "kernel/netns.h"
#include "portpool/lane.h"

namespace portpool {
namespace {

// Clients can write anything into the segment.
template <std::size_t N>
std::string text_of(const char (&raw)[N]) {
  const std::string text(raw, strnlen(raw, N));
  return is_utf8(text) ? text : "(damaged)";
}

// The same of a text that poold may be writing meanwhile.
template <std::size_t N>
std::string shared_text(const char (&text)[N]) {
  char raw[N];
  for (std::size_t i = 0; i < N; ++i) {
    raw[i] = std::atomic_ref(const_cast<char&>(text[i])).load(std::memory_order_relaxed);
  }
  return text_of(raw);
}

void read_shards(const SegmentView& view, Report& report) {
  for (std::size_t h = 0; h < kHistograms; ++h) {
    LatencyReport& out = report.latency[h];
    out.arm = static_cast<Route>(h >> 2 & 1);
    out.path = static_cast<Route>(h >> 1 & 1);
    out.blocking = (h & 1) != 0;
  }
  for (std::uint32_t i = 0; i < view.shard_count(); ++i) {
    const Shard& shard = view.shard(i);
    for (std::size_t c = 0; c < kCounters; ++c) {
      report.counters[c] += shard.counters[c].load(std::memory_order_relaxed);
    }
    for (std::size_t f = 0; f < kFallbackReasons; ++f) {
      report.fallbacks[f] += shard.fallbacks[f].load(std::memory_order_relaxed);
    }
    for (std::size_t h = 0; h < kHistograms; ++h) report.latency[h].latency.add(shard.latency[h]);
  }
}

// As poold has decided, which stands in the directory.
bool is_rewritten(const SegmentView& view, const LaneKey& key) {
  const auto says_so = [&](const Address& source) {
    LaneChoice choice;
    return find_lanes(view, {source, key.destination, key.destination_port}, choice) &&
           choice.count == 0 && (choice.flags & EntryFlags::rewritten) != 0;
  };
  return says_so({}) || says_so(key.source);
}

void read_lanes(const SegmentView& view, Report& report) {
  for (std::uint32_t i = 0; i < view.pool_count(); ++i) {
    if (std::string name = pool_name(view.pool(i)); !name.empty()) {
      report.pools.push_back(std::move(name));
    }
  }
  report.lane_places = view.lane_count();
  const std::uint32_t touched = view.header().lanes_touched.load(std::memory_order_relaxed);
  for (std::uint32_t i = 0; i < std::min(view.lane_count(), touched); ++i) {
    LaneIdentity identity;
    const LaneRef ref{i, view.lane_info(i).generation.load(std::memory_order_relaxed)};
    if (!read_lane(view, ref, identity)) continue;
    LaneHints& lane = view.lane_hints(i);
    const std::string pool = pool_name(view.pool(identity.pool));
    const LaneCounts counts = count_lane(lane, identity.ports, CountFrom::marked_maps);
    if (is_for_promises(identity.key)) {
      report.promises.push_back({identity.key.source, pool, counts.capacity,
                                 counts.free - counts.reusable, counts.reusable, counts.in_use});
      continue;
    }
    LaneReport out;
    out.key = identity.key;
    out.pool = pool;
    out.counts = counts;
    out.rejections = lane.rejections.load(std::memory_order_relaxed);
    out.exhausted = lane.exhausted.load(std::memory_order_relaxed);
    out.connects = lane.connects.load(std::memory_order_relaxed);
    out.rewritten =
        lane.rewritten.load(std::memory_order_relaxed) != 0 && is_rewritten(view, identity.key);
    report.lanes.push_back(std::move(out));
  }
  std::stable_sort(report.lanes.begin(), report.lanes.end(), [](const auto& a, const auto& b) {
    // free / capacity, without dividing by a capacity of 0.
    return std::uint64_t{a.counts.free} * b.counts.capacity <
           std::uint64_t{b.counts.free} * a.counts.capacity;
  });
}

void read_attendance(const SegmentView& view, Report& report) {
  const Attendance* attendance = view.attendance();
  if (attendance == nullptr) return;
  for (std::size_t i = 0; i < kAttachRows; ++i) {
    report.attaches[i] = attendance->attaches[i].load(std::memory_order_relaxed);
  }
  const std::size_t count = attendance->expected_count.load(std::memory_order_relaxed);
  for (std::size_t i = 0; i < std::min(count, kMostExpected); ++i) {
    const ExpectedClient& entry = attendance->expected[i];
    const std::uint32_t kind = entry.kind.load(std::memory_order_relaxed);
    const std::uint32_t state = entry.state.load(std::memory_order_relaxed);
    if (kind >= kExpectedKinds.size() || state >= kExpectedTexts.size()) continue;
    report.expected.push_back({static_cast<ExpectedKind>(kind), shared_text(entry.name),
                               static_cast<ExpectedState>(state)});
  }
}

}  // namespace

std::string pool_name(const PoolInfo& pool) { return shared_text(pool.name); }

void LatencySum::add(const LatencyHistogram& histogram) {
  for (std::size_t i = 0; i < kLatencyBuckets; ++i) {
    const std::uint64_t n = histogram.buckets[i].load(std::memory_order_relaxed);
    buckets[i] += n;
    count += n;
  }
  sum_ns += histogram.sum_ns.load(std::memory_order_relaxed);
  cpu_ns += histogram.cpu_ns.load(std::memory_order_relaxed);
  cpu_samples += histogram.cpu_samples.load(std::memory_order_relaxed);
  errors += histogram.errors.load(std::memory_order_relaxed);
  no_port += histogram.no_port.load(std::memory_order_relaxed);
  max_ns = std::max(max_ns, histogram.max_ns.load(std::memory_order_relaxed));
}

void LatencySum::add(const LatencySum& other) {
  for (std::size_t i = 0; i < kLatencyBuckets; ++i) buckets[i] += other.buckets[i];
  count += other.count;
  sum_ns += other.sum_ns;
  cpu_ns += other.cpu_ns;
  cpu_samples += other.cpu_samples;
  errors += other.errors;
  no_port += other.no_port;
  max_ns = std::max(max_ns, other.max_ns);
}

void LatencySum::subtract(const LatencySum& earlier) {
  std::uint64_t last = 0;
  for (std::size_t i = 0; i < kLatencyBuckets; ++i) {
    buckets[i] -= earlier.buckets[i];
    if (buckets[i] != 0) last = latency_bucket_low(i + 1) - 1;
  }
  count -= earlier.count;
  sum_ns -= earlier.sum_ns;
  cpu_ns -= earlier.cpu_ns;
  cpu_samples -= earlier.cpu_samples;
  errors -= earlier.errors;
  no_port -= earlier.no_port;
  max_ns = std::min(max_ns, last);
}

LatencySum Report::path(Route path) const {
  LatencySum sum;
  for (const LatencyReport& part : latency) {
    if (part.path == path) sum.add(part.latency);
  }
  return sum;
}

std::vector<Endpoint> Report::rewritten() const {
  std::vector<Endpoint> found;
  for (const LaneReport& lane : lanes) {
    const Endpoint destination = destination_of(lane.key);
    if (lane.rewritten && std::find(found.begin(), found.end(), destination) == found.end()) {
      found.push_back(destination);
    }
  }
  return found;
}

Report Report::since(const Report& earlier) const {
  Report difference = *this;
  for (std::size_t i = 0; i < kCounters; ++i) difference.counters[i] -= earlier.counters[i];
  for (std::size_t i = 0; i < kFallbackReasons; ++i)
    difference.fallbacks[i] -= earlier.fallbacks[i];
  difference.attaches_refused -= earlier.attaches_refused;
  for (std::size_t i = 0; i < kAttachRows; ++i) difference.attaches[i] -= earlier.attaches[i];
  difference.reconcile_passes -= earlier.reconcile_passes;
  difference.reconcile_cpu_ns -= earlier.reconcile_cpu_ns;
  for (std::size_t i = 0; i < kHistograms; ++i) {
    difference.latency[i].latency.subtract(earlier.latency[i].latency);
  }
  return difference;
}

Report read_report(const SegmentView& view) {
  const StructureHeader& header = view.header();
  Report report;
  report.pid = header.daemon_pid;
  report.version = text_of(header.daemon_version);
  report.layout = std::to_string(header.layout_major) + "." + std::to_string(header.layout_minor);
  report.generation = header.generation;
  report.set_times(daemon_times(header));
  report.stopped = header.stopped.load(std::memory_order_relaxed) != 0;
  report.control = Control::unpack(header.control.load(std::memory_order_relaxed));
  const auto range = PortRange::unpack(header.port_range.load(std::memory_order_relaxed));
  report.port_low = range.low;
  report.port_high = range.high;
  report.clients = header.clients.load(std::memory_order_relaxed);
  report.attaches_refused = header.attaches_refused.load(std::memory_order_relaxed);
  report.reconcile_passes = header.reconcile_passes.load(std::memory_order_relaxed);
  report.reconcile_cpu_ns = header.reconcile_cpu_ns.load(std::memory_order_relaxed);
  read_attendance(view, report);
  read_shards(view, report);
  read_lanes(view, report);
  return report;
}

Report read_watched_report(const SegmentView& view) {
  const DaemonTimes times = watched_daemon_times(view.header());
  Report report = read_report(view);
  report.set_times(times);
  report.elsewhere = !view.network_namespace().same_as(kernel::current_network_namespace());
  return report;
}

const char* name_of(Mode mode) {
  switch (mode) {
    case Mode::pool:
      return "pool";
    case Mode::observe:
      return "observe";
    case Mode::ab:
      return "ab";
  }
  return "unknown";
}

const char* name_of(Route route) { return route == Route::pool ? "pool" : "kernel"; }

const char* name_of(Strategy strategy) {
  return strategy == Strategy::port_range ? "port-range" : "bind";
}

}  // namespace portpool
