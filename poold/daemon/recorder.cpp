#include "daemon/recorder.h"

#include <algorithm>
#include <array>
#include <span>
#include <vector>

#include "base/clock.h"
#include "lanes/lane_update.h"
#include "portpool/results.h"

namespace portpool {
namespace {

// A sample before it is written.
struct Reading {
  std::uint64_t at_ns = clock_ns(CLOCK_REALTIME);
  std::uint64_t at_boot_ns = clock_ns(CLOCK_BOOTTIME);
  std::array<std::uint32_t, kCounters> counters{};
  std::array<std::uint32_t, kFallbackReasons> fallbacks{};
  std::array<std::array<std::uint32_t, kSampleBuckets>, 2> latency{};

  struct Lane {
    const LaneRecord* record;
    LaneCounts counts;
    std::uint32_t rejections;
  };
  std::vector<Lane> lanes;
};

std::uint32_t lower_half(const std::atomic<std::uint64_t>& number) {
  return static_cast<std::uint32_t>(number.load(std::memory_order_relaxed));
}

// No memory shall come to be by reading where nothing was ever counted.
bool has_latencies(const Shard& shard) {
  const auto any = [&](Route path) {
    const auto first = static_cast<std::size_t>(result_counter(path, ConnectResult::k_ok));
    const std::span results(shard.counters + first, kConnectResults);
    return std::any_of(results.begin(), results.end(),
                       [](const auto& count) { return lower_half(count) != 0; });
  };
  return any(Route::pool) || any(Route::kernel);
}

void add(const LatencyHistogram& histogram, std::array<std::uint32_t, kSampleBuckets>& sums) {
  if (lower_half(histogram.max_ns) == 0) return;
  for (std::size_t i = 0; i < kLatencyBuckets; ++i) {
    sums[i / kSampleJoined] += lower_half(histogram.buckets[i]);
  }
}

void add(const Shard& shard, Reading& reading) {
  for (std::size_t i = 0; i < kCounters; ++i) reading.counters[i] += lower_half(shard.counters[i]);
  for (std::size_t i = 0; i < kFallbackReasons; ++i) {
    reading.fallbacks[i] += lower_half(shard.fallbacks[i]);
  }
  if (!has_latencies(shard)) return;
  for (std::size_t h = 0; h < kHistograms; ++h) {
    add(shard.latency[h], reading.latency[h >> 1 & 1]);
  }
}

// Those that were fullest when they were looked at last, as they are now.
void add_lanes(const LaneTable& table, Reading& reading) {
  for (const LaneRecord* record : table.fullest(kSampleLanes)) {
    LaneHints& hints = table.hints(*record);
    reading.lanes.push_back(
        {record, count_lane(hints, record->range, CountFrom::marked_maps),
         static_cast<std::uint32_t>(hints.rejections.load(std::memory_order_relaxed))});
  }
  std::stable_sort(reading.lanes.begin(), reading.lanes.end(), [](const auto& a, const auto& b) {
    return std::uint64_t{a.counts.free} * b.counts.capacity <
           std::uint64_t{b.counts.free} * a.counts.capacity;
  });
}

void store(std::atomic<std::uint16_t>& place, std::uint32_t number) {
  place.store(static_cast<std::uint16_t>(std::min(number, 65535U)), std::memory_order_relaxed);
}

void store(SampleLane& place, const Reading::Lane& lane) {
  store_key(place.key, lane.record->key);
  store(place.pool, lane.record->pool);
  store(place.capacity, lane.counts.capacity);
  store(place.in_use, lane.counts.in_use);
  store(place.free, lane.counts.free);
  store(place.waiting, lane.counts.quarantined);
  store(place.blocked, lane.counts.blocked);
  place.rejections.store(lane.rejections, std::memory_order_relaxed);
}

template <std::size_t N, std::size_t M>
void store(std::atomic<std::uint32_t> (&places)[N], const std::array<std::uint32_t, M>& numbers) {
  static_assert(M <= N);
  for (std::size_t i = 0; i < M; ++i) places[i].store(numbers[i], std::memory_order_relaxed);
}

void write(const Reading& reading, const StructureHeader& header, std::size_t lanes_in_service,
           std::uint64_t ticket, std::span<HistorySample> ring) {
  HistorySample& sample = ring[ticket % ring.size()];
  sample.sequence.store(2 * ticket + 1, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  sample.at_ns.store(reading.at_ns, std::memory_order_relaxed);
  sample.at_boot_ns.store(reading.at_boot_ns, std::memory_order_relaxed);
  sample.control.store(header.control.load(std::memory_order_relaxed), std::memory_order_relaxed);
  sample.clients.store(header.clients.load(std::memory_order_relaxed), std::memory_order_relaxed);
  sample.lanes_in_service.store(static_cast<std::uint32_t>(lanes_in_service),
                                std::memory_order_relaxed);
  sample.lane_count.store(static_cast<std::uint32_t>(reading.lanes.size()),
                          std::memory_order_relaxed);
  store(sample.counters, reading.counters);
  store(sample.fallbacks, reading.fallbacks);
  for (std::size_t path = 0; path < 2; ++path) store(sample.latency[path], reading.latency[path]);
  for (std::size_t i = 0; i < reading.lanes.size(); ++i) store(sample.lanes[i], reading.lanes[i]);
  sample.sequence.store(2 * ticket + 2, std::memory_order_release);
}

// One behind the latest there is; a sample that a killed poold was writing is written anew.
std::uint64_t next_ticket(std::span<const HistorySample> ring) {
  std::uint64_t next = 0;
  for (const HistorySample& sample : ring) {
    const std::uint64_t sequence = sample.sequence.load(std::memory_order_relaxed);
    // Nor is any further one used, and a look at it would take memory.
    if (sequence == 0) break;
    next = std::max(next, sequence / 2);
  }
  return next;
}

}  // namespace

Recorder::Recorder(const StructureWriter& structure, const LaneTable& lanes)
    : structure_(structure),
      lanes_(lanes),
      fine_ticket_(next_ticket(structure.history().fine)),
      coarse_ticket_(next_ticket(structure.history().coarse)) {
  if (coarse_ticket_ != 0) {
    const HistorySample& latest =
        structure_.history().coarse[(coarse_ticket_ - 1) % kCoarseSamples];
    const std::uint64_t now = clock_ns(CLOCK_BOOTTIME);
    const std::uint64_t pause = std::chrono::nanoseconds(kCoarsePause).count();
    // An earlier poold's clock may have been another one (time namespaces).
    coarse_due_ns_ =
        std::min(latest.at_boot_ns.load(std::memory_order_relaxed) + pause, now + pause);
  }
  record();
}

void Recorder::record() {
  const SegmentView& view = structure_.view();
  Reading reading;
  for (std::uint32_t i = 0; i < view.shard_count(); ++i) add(view.shard(i), reading);
  add_lanes(lanes_, reading);
  const auto write_to = [&](std::span<HistorySample> ring, std::uint64_t& ticket) {
    write(reading, view.header(), lanes_.size(), ticket++, ring);
  };
  History& history = structure_.history();
  write_to(history.fine, fine_ticket_);
  if (reading.at_boot_ns < coarse_due_ns_) return;
  write_to(history.coarse, coarse_ticket_);
  // The timer does not come to the moment.
  const std::uint64_t pause = std::chrono::nanoseconds(kCoarsePause).count();
  const std::uint64_t half = std::chrono::nanoseconds(kPause).count() / 2;
  coarse_due_ns_ = reading.at_boot_ns + pause - half;
}

}  // namespace portpool
