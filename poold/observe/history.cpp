#include "observe/history.h"

#include <algorithm>
#include <span>
#include <utility>

#include "base/clock.h"

namespace portpool {
namespace {

constexpr double kNsPerS = 1e9;
// More than this over its length, and a sample came late because poold could not write it.
constexpr double kStoodStill = 2;

template <std::size_t N, std::size_t M>
void load(const std::atomic<std::uint32_t> (&places)[N], std::array<std::uint32_t, M>& numbers) {
  static_assert(M <= N);
  for (std::size_t i = 0; i < M; ++i) numbers[i] = places[i].load(std::memory_order_relaxed);
}

LaneReport lane_of(const SegmentView& view, const SampleLane& sample) {
  const auto number = [](const std::atomic<std::uint16_t>& place) -> std::uint32_t {
    return place.load(std::memory_order_relaxed);
  };
  LaneReport lane;
  lane.key = load_key(sample.key);
  lane.pool = pool_name(view.pool(number(sample.pool)));
  lane.counts.capacity = number(sample.capacity);
  lane.counts.in_use = number(sample.in_use);
  lane.counts.free = std::min(number(sample.free), lane.counts.capacity);
  lane.counts.quarantined = number(sample.waiting);
  lane.counts.blocked = number(sample.blocked);
  lane.rejections = sample.rejections.load(std::memory_order_relaxed);
  return lane;
}

// False: never used, being written, or of another place.
bool read_sample(const SegmentView& view, std::span<const HistorySample> ring, std::size_t place,
                 HistoryPoint& out) {
  const HistorySample& sample = ring[place];
  const std::uint64_t before = sample.sequence.load(std::memory_order_acquire);
  if (before == 0 || before % 2 != 0) return false;
  out.ticket = before / 2 - 1;
  if (out.ticket % ring.size() != place) return false;
  out.at_ns = sample.at_ns.load(std::memory_order_relaxed);
  out.at_boot_ns = sample.at_boot_ns.load(std::memory_order_relaxed);
  out.control = Control::unpack(sample.control.load(std::memory_order_relaxed));
  out.clients = sample.clients.load(std::memory_order_relaxed);
  out.lanes_in_service = sample.lanes_in_service.load(std::memory_order_relaxed);
  load(sample.counters, out.counters);
  load(sample.fallbacks, out.fallbacks);
  for (std::size_t path = 0; path < 2; ++path) load(sample.latency[path], out.latency[path]);
  const std::size_t lanes =
      std::min<std::size_t>(sample.lane_count.load(std::memory_order_relaxed), kSampleLanes);
  out.lanes.clear();
  for (std::size_t i = 0; i < lanes; ++i) out.lanes.push_back(lane_of(view, sample.lanes[i]));
  std::atomic_thread_fence(std::memory_order_acquire);
  return sample.sequence.load(std::memory_order_relaxed) == before;
}

std::vector<HistoryPoint> read_ring(const SegmentView& view, std::span<const HistorySample> ring,
                                    bool fine) {
  std::vector<HistoryPoint> points;
  HistoryPoint point;
  point.fine = fine;
  for (std::size_t i = 0; i < ring.size(); ++i) {
    // Places are used in their order, and a look at one that is not used would take memory.
    if (ring[i].sequence.load(std::memory_order_relaxed) == 0) break;
    if (read_sample(view, ring, i, point)) points.push_back(point);
  }
  std::sort(points.begin(), points.end(),
            [](const HistoryPoint& a, const HistoryPoint& b) { return a.ticket < b.ticket; });
  return points;
}

// 0 where it would be less.
double seconds_from(std::uint64_t from_ns, std::uint64_t to_ns) {
  return to_ns <= from_ns ? 0 : static_cast<double>(to_ns - from_ns) / kNsPerS;
}

double stood_still(const HistoryPoint& from, const HistoryPoint& to, double seconds) {
  if (from.fine != to.fine || to.ticket != from.ticket + 1) return 0;
  const double late = seconds - (to.fine ? 1 : 10);
  return late > kStoodStill ? late : 0;
}

}  // namespace

LatencySum latency_between(const HistoryPoint& from, const HistoryPoint& to, Route path) {
  const auto which = static_cast<std::size_t>(path);
  LatencySum sum;
  for (std::size_t i = 0; i < kSampleBuckets; ++i) {
    const std::uint32_t calls = to.latency[which][i] - from.latency[which][i];
    if (calls == 0) continue;
    // Spread over the buckets that were joined.
    for (std::size_t j = 0; j < kSampleJoined; ++j) {
      const std::uint64_t share = calls / kSampleJoined + (j < calls % kSampleJoined ? 1 : 0);
      sum.buckets[i * kSampleJoined + j] = share;
    }
    sum.count += calls;
    sum.max_ns = latency_bucket_low((i + 1) * kSampleJoined) - 1;
  }
  return sum;
}

HistoryReading::HistoryReading(const SegmentView& view, std::uint64_t now_ns) : now_ns_(now_ns) {
  const History* history = view.history();
  if (history == nullptr) return;
  points_ = read_ring(view, history->coarse, false);
  std::vector<HistoryPoint> fine = read_ring(view, history->fine, true);
  if (!fine.empty()) {
    std::erase_if(points_, [&](const HistoryPoint& point) {
      return point.at_boot_ns >= fine.front().at_boot_ns;
    });
  }
  std::move(fine.begin(), fine.end(), std::back_inserter(points_));
}

double HistoryReading::age(const HistoryPoint& point) const {
  const HistoryPoint& latest = points_.back();
  // By the wall's clock from the latest on, before that by the one that nobody sets.
  return seconds_from(latest.at_ns, now_ns_) + seconds_from(point.at_boot_ns, latest.at_boot_ns);
}

bool HistoryReading::begins_with_daemon() const {
  return !points_.empty() && points_.front().ticket == 0;
}

std::size_t HistoryReading::index_before(double seconds_ago) const {
  std::size_t found = 0;
  for (std::size_t i = 0; i < points_.size(); ++i) {
    if (age(points_[i]) >= seconds_ago) found = i;
  }
  return found;
}

Happened HistoryReading::between(std::size_t from, std::size_t to) const {
  const HistoryPoint& a = points_[from];
  const HistoryPoint& b = points_[to];
  Happened happened;
  happened.until_ns = b.at_ns;
  happened.seconds = seconds_from(a.at_boot_ns, b.at_boot_ns);
  for (std::size_t i = from; i < to; ++i) {
    happened.stood_still += stood_still(
        points_[i], points_[i + 1], seconds_from(points_[i].at_boot_ns, points_[i + 1].at_boot_ns));
  }
  Report& report = happened.report;
  report.control = b.control;
  report.clients = b.clients;
  report.lanes = b.lanes;
  for (std::size_t i = 0; i < kCounters; ++i) report.counters[i] = b.counters[i] - a.counters[i];
  for (std::size_t i = 0; i < kFallbackReasons; ++i) {
    report.fallbacks[i] = b.fallbacks[i] - a.fallbacks[i];
  }
  for (const Route path : {Route::pool, Route::kernel}) {
    report.latency[histogram_index(Route::pool, path, true)] = {Route::pool, path, true,
                                                                latency_between(a, b, path)};
  }
  return happened;
}

std::uint64_t Happened::connects() const {
  return report.path(Route::pool).count + report.path(Route::kernel).count;
}

std::uint64_t Happened::errors() const {
  std::uint64_t errors = 0;
  for (std::size_t i = 0; i < kConnectResults; ++i) {
    const auto result = static_cast<ConnectResult>(i);
    if (!is_failure(result)) continue;
    errors += report.result(result);
  }
  return errors;
}

std::uint64_t Happened::missed() const {
  std::uint64_t reasons = 0;
  for (const std::uint64_t count : report.fallbacks) reasons += count;
  const std::uint64_t wished =
      report.fallbacks[static_cast<std::size_t>(FallbackReason::k_no_pool)];
  return reasons - std::min(reasons, wished);
}

FallbackReason Happened::main_reason() const {
  auto fallbacks = report.fallbacks;
  fallbacks[static_cast<std::size_t>(FallbackReason::k_no_pool)] = 0;
  const auto most = std::max_element(fallbacks.begin(), fallbacks.end());
  return *most == 0 ? FallbackReason::k_count
                    : static_cast<FallbackReason>(most - fallbacks.begin());
}

}  // namespace portpool
