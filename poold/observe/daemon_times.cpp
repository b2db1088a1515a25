#include "observe/daemon_times.h"

#include <algorithm>
#include <thread>

#include "base/clock.h"
#include "kernel/time_offsets.h"
#include "observe/heartbeat_watch.h"

namespace portpool {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::int64_t kNsPerMs = 1'000'000;
constexpr std::int64_t kStaleNs = static_cast<std::int64_t>(kHeartbeatStaleMs) * kNsPerMs;

// What is to be added to this process's clocks to have the daemon's.
kernel::TimeOffsets ahead_of_us(const StructureHeader& header) {
  const auto ours = kernel::own_time_offsets();
  const auto theirs = kernel::time_offsets(header.daemon_pid);
  if (!ours || !theirs) return {};
  return {theirs->monotonic - ours->monotonic, theirs->boottime - ours->boottime};
}

// Nanoseconds from a moment of the daemon's clock to now; less than 0 for one that is to come.
std::int64_t since(std::uint64_t moment, clockid_t clock, std::int64_t ahead) {
  return static_cast<std::int64_t>(clock_ns(clock) + static_cast<std::uint64_t>(ahead) - moment);
}

struct ByClocks {
  std::int64_t age_ns;
  std::int64_t uptime_ns;

  bool alive() const { return age_ns >= 0 && age_ns <= kStaleNs; }
};

ByClocks by_clocks(const StructureHeader& header) {
  const kernel::TimeOffsets ahead = ahead_of_us(header);
  const std::uint64_t beat = header.heartbeat_ns.load(std::memory_order_relaxed);
  return {since(beat, CLOCK_MONOTONIC, ahead.monotonic),
          since(header.started_ns, CLOCK_BOOTTIME, ahead.boottime)};
}

std::uint64_t uptime_by_beats(const StructureHeader& header) {
  return header.heartbeat.load(std::memory_order_relaxed) / (1000 / kHeartbeatMs);
}

DaemonTimes settled(const StructureHeader& header, const ByClocks& clocks,
                    std::optional<std::chrono::nanoseconds> silence) {
  std::int64_t age_ns = std::max<std::int64_t>(clocks.age_ns, 0);
  bool comparable = clocks.age_ns >= 0 && clocks.uptime_ns >= 0;
  if (silence && !clocks.alive()) {
    const bool beats = silence->count() <= kStaleNs;
    age_ns = beats ? silence->count() : std::max<std::int64_t>(age_ns, silence->count());
    comparable = comparable && !beats;
  }
  return {static_cast<std::uint64_t>(age_ns / kNsPerMs),
          comparable ? static_cast<std::uint64_t>(clocks.uptime_ns / (1000 * kNsPerMs))
                     : uptime_by_beats(header)};
}

}  // namespace

DaemonTimes daemon_times(const StructureHeader& header,
                         std::optional<std::chrono::nanoseconds> silence) {
  return settled(header, by_clocks(header), silence);
}

DaemonTimes watched_daemon_times(const StructureHeader& header) {
  const Clock::time_point begin = Clock::now();
  HeartbeatWatch watch(header, begin);
  for (bool moved = false;;) {
    const ByClocks clocks = by_clocks(header);
    const bool stopped = header.stopped.load(std::memory_order_relaxed) != 0;
    if (clocks.alive() || stopped) return settled(header, clocks, std::nullopt);
    const Clock::time_point now = Clock::now();
    const Clock::duration silence = watch.silence(header, now);
    // Once more after it has moved: the moment of that beat may be one to compare with.
    if (moved || silence > std::chrono::milliseconds(kHeartbeatStaleMs)) {
      return settled(header, clocks, silence);
    }
    moved = silence == Clock::duration::zero() && now != begin;
    if (!moved) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

}  // namespace portpool
