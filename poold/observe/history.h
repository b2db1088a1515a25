// What has happened in a daemon's last hour, from the readings that it keeps in the structure
// (HistorySample): what lies between two of them is their difference.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "observe/report.h"

namespace portpool {

// A complete sample.
struct HistoryPoint {
  std::uint64_t ticket = 0;
  bool fine = false;  // of the ring of seconds
  std::uint64_t at_ns = 0;
  std::uint64_t at_boot_ns = 0;
  Control control{};
  std::uint32_t clients = 0;
  std::uint32_t lanes_in_service = 0;
  std::array<std::uint32_t, kCounters> counters{};
  std::array<std::uint32_t, kFallbackReasons> fallbacks{};
  std::array<std::array<std::uint32_t, kSampleBuckets>, 2> latency{};
  std::vector<LaneReport> lanes;  // the fullest
};

// Between two points.
struct Happened {
  std::uint64_t until_ns = 0;  // CLOCK_REALTIME
  double seconds = 0;
  // Counters, fallbacks, latency by path (under the pool's arm, as blocking calls; max_ns is the
  // end of the last bucket); the lanes as they stood at the end.
  Report report;
  // How much longer than it should have been, in seconds: for so long poold's loop stood still, or
  // the machine was suspended. 0 where samples are missing.
  double stood_still = 0;

  std::uint64_t connects() const;
  std::uint64_t errors() const;
  // By the kernel's path though the pool should have had them: for any reason but pool = "none".
  std::uint64_t missed() const;
  // The reason for most of those; k_count: none.
  FallbackReason main_reason() const;
};

class HistoryReading {
 public:
  HistoryReading() = default;
  // Reads all that is complete. Nothing in it is trusted.
  explicit HistoryReading(const SegmentView& view, std::uint64_t now_ns);

  bool empty() const { return points_.size() < 2; }
  const std::vector<HistoryPoint>& points() const { return points_; }
  // How long ago the point was, in seconds; not below 0.
  double age(const HistoryPoint& point) const;
  // The record begins with poold itself, and not an hour ago.
  bool begins_with_daemon() const;
  // The latest point that is at least so old, else the oldest.
  std::size_t index_before(double seconds_ago) const;
  // `from` and `to` are indices of points, from <= to.
  Happened between(std::size_t from, std::size_t to) const;

 private:
  std::vector<HistoryPoint> points_;  // oldest first
  std::uint64_t now_ns_ = 0;
};

// As between() has it, for a part alone.
LatencySum latency_between(const HistoryPoint& from, const HistoryPoint& to, Route path);

// Many connects miss the pool, or find no port at all, up to now; and since when.
enum class TroubleKind { missed, no_port };
struct Trouble {
  std::uint64_t began_ns = 0;  // CLOCK_REALTIME
  double seconds = 0;          // since then
  bool longer = false;         // since before the record begins
  std::uint64_t affected = 0;
  std::uint64_t connects = 0;
  FallbackReason reason =
      FallbackReason::k_count;  // why most of them missed it; k_count: not known
};
std::optional<Trouble> present_trouble(const HistoryReading& history, TroubleKind kind);

// "10:32:05", local time; with the date where that is not today's.
std::string clock_text(std::uint64_t realtime_ns, std::uint64_t now_ns);
// "10 s", "12m03s".
std::string span_text(double seconds);

// `poold status --since`: what has happened in the last `span`, from the record of a daemon whose
// `report` is the present one.
struct Since {
  std::chrono::seconds span;
  std::uint64_t now_ns;
};
std::string history_as_text(const HistoryReading& history, const Report& report,
                            const Since& since);
std::string history_as_json(const HistoryReading& history, const Report& report,
                            const Since& since);

}  // namespace portpool
