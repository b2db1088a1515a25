#include "observe/history_moments.h"

#include <algorithm>
#include <optional>

#include "base/address_text.h"
#include "observe/quantile.h"

namespace portpool {
namespace {

// Fewer calls have no p99 to speak of.
constexpr std::uint64_t kCallsForSlow = 10;

double free_share(const HistoryPoint& point) {
  if (point.lanes.empty() || point.lanes.front().counts.capacity == 0) return 2;
  const LaneCounts& counts = point.lanes.front().counts;
  return static_cast<double>(counts.free) / counts.capacity;
}

// The highest so far of one kind.
struct Highest {
  MomentKind kind;
  double value = 0;
  std::optional<std::size_t> at;

  void offer(double candidate, std::size_t index) {
    if (candidate > value) {
      value = candidate;
      at = index;
    }
  }
};

}  // namespace

HistorySpan chosen_span(const HistoryReading& history, const Since& since) {
  const auto seconds = static_cast<double>(since.span.count());
  const std::size_t last = history.points().size() - 1;
  const std::size_t from = std::min(history.index_before(seconds), last - 1);
  return {from, last, history.age(history.points().front()) < seconds};
}

const char* name_of(MomentKind kind) {
  switch (kind) {
    case MomentKind::missed:
      return "kernel_path";
    case MomentKind::errors:
      return "errors";
    case MomentKind::slow:
      return "slowest";
    case MomentKind::busy:
      return "busiest";
    case MomentKind::full:
      return "fullest_lane";
    case MomentKind::still:
      return "stood_still";
  }
  return "unknown";
}

std::vector<Moment> worst_moments(const HistoryReading& history, const HistorySpan& span) {
  Highest highest[] = {{MomentKind::missed, 0, {}},
                       {MomentKind::errors, 0, {}},
                       {MomentKind::slow, 0, {}},
                       {MomentKind::busy, 0, {}},
                       {MomentKind::still, 0, {}}};
  for (std::size_t i = span.from + 1; i <= span.to; ++i) {
    const Happened happened = history.between(i - 1, i);
    const double seconds = std::max(happened.seconds, 0.001);
    highest[0].offer(static_cast<double>(happened.missed()) / seconds, i);
    highest[1].offer(static_cast<double>(happened.errors()) / seconds, i);
    if (happened.connects() >= kCallsForSlow) highest[2].offer(p99_us(happened.report), i);
    highest[3].offer(static_cast<double>(happened.connects()) / seconds, i);
    highest[4].offer(happened.stood_still, i);
  }
  std::vector<Moment> moments;
  for (const Highest& one : highest) {
    if (one.at) moments.push_back({one.kind, *one.at});
  }
  const std::size_t fullest = fullest_moment(history, span);
  if (fullest > span.from && free_share(history.points()[fullest]) < 0.5) {
    moments.push_back({MomentKind::full, fullest});
  }
  std::stable_sort(moments.begin(), moments.end(),
                   [](const Moment& a, const Moment& b) { return a.at < b.at; });
  return moments;
}

std::size_t fullest_moment(const HistoryReading& history, const HistorySpan& span) {
  // The latest of those that are alike.
  std::size_t found = span.to;
  for (std::size_t i = span.to + 1; i-- > span.from + 1;) {
    if (free_share(history.points()[i]) < free_share(history.points()[found])) found = i;
  }
  return found;
}

std::time_t calendar_time(std::uint64_t realtime_ns) {
  constexpr std::uint64_t kLatest = 4'102'444'800;  // 2100
  return static_cast<std::time_t>(std::min(realtime_ns / 1'000'000'000, kLatest));
}

std::string main_error(const Happened& happened) {
  std::uint64_t most = 0;
  std::string name;
  for (std::size_t i = 0; i < kConnectResults; ++i) {
    const auto result = static_cast<ConnectResult>(i);
    if (!is_failure(result)) continue;
    if (happened.report.result(result) > most) {
      most = happened.report.result(result);
      name = kResultTexts[i].name;
    }
  }
  return name;
}

double p99_us(const Report& report) {
  LatencySum all = report.path(Route::pool);
  all.add(report.path(Route::kernel));
  return quantile_us(all, 0.99);
}

}  // namespace portpool
