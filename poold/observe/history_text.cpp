// What `poold status --since` prints.
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <utility>
#include <vector>

#include "base/address_text.h"
#include "base/number_text.h"
#include "base/text.h"
#include "observe/history_moments.h"
#include "observe/quantile.h"
#include "observe/report_text.h"

namespace portpool {
namespace {

std::string path_row(Route path, const Happened& happened) {
  const LatencySum latency = happened.report.path(path);
  if (latency.count == 0) return fmt::format("  {:<12}{:>12}\n", name_of(path), 0);
  const double rate = static_cast<double>(latency.count) / std::max(happened.seconds, 0.001);
  return fmt::format("  {:<12}{:>12}{:>12}{:>12}{:>12}\n", name_of(path), count_text(latency.count),
                     short_rate(rate), time_text(quantile_us(latency, 0.5)),
                     time_text(quantile_us(latency, 0.99)));
}

std::string first_line(const HistoryReading& history, const HistorySpan& span, std::uint64_t now) {
  const Happened all = history.between(span.from, span.to);
  const std::uint64_t pool = all.report.path(Route::pool).count;
  std::string text =
      fmt::format("From {} to {} ({}): ", clock_text(history.points()[span.from].at_ns, now),
                  clock_text(all.until_ns, now), span_text(all.seconds));
  if (all.connects() == 0) return text + "no TCP connect";
  text += counted(all.connects(), "TCP connect", "TCP connects");
  text +=
      fmt::format(", {} of them by the pool",
                  percent_text(static_cast<double>(pool) / static_cast<double>(all.connects())));
  if (all.errors() != 0) text += fmt::format(", {} failed", count_text(all.errors()));
  return text;
}

// What there is not, of what was asked for.
std::string limits(const HistoryReading& history, const HistorySpan& span, const Report& now,
                   const Since& since) {
  std::string text;
  if (span.cut) {
    const std::string begin = clock_text(history.points().front().at_ns, since.now_ns);
    text += history.begins_with_daemon()
                ? fmt::format(
                      "The record begins at {}, when this poold (or the first of those "
                      "that took over from each other) started.",
                      begin)
                : fmt::format("The record begins at {}: it holds an hour.", begin);
  }
  if (!now.alive()) {
    text += fmt::format("{}poold {} since {}: nothing is recorded since.", text.empty() ? "" : " ",
                        now.stopped ? "is stopped" : "has had no heartbeat",
                        clock_text(history.points().back().at_ns, since.now_ns));
  }
  return text.empty() ? text : wrapped(text, kTerminalWidth, 0);
}

std::string moment_line(const HistoryReading& history, const Moment& moment, std::uint64_t now) {
  const Happened happened = history.between(moment.at - 1, moment.at);
  std::string text;
  switch (moment.kind) {
    case MomentKind::missed: {
      const auto reason = static_cast<std::size_t>(happened.main_reason());
      text = fmt::format("{} on the kernel's path of {}; {}: {}", count_text(happened.missed()),
                         counted(happened.connects(), "connect", "connects"),
                         kFallbackTexts[reason].name, kFallbackTexts[reason].sentence);
      break;
    }
    case MomentKind::errors:
      text = fmt::format(
          "{} of {} failed{}", count_text(happened.errors()),
          counted(happened.connects(), "connect", "connects"),
          main_error(happened).empty() ? "" : fmt::format(", most with {}", main_error(happened)));
      break;
    case MomentKind::slow:
      text = fmt::format("slowest: p99 {} of {}", time_text(p99_us(happened.report)),
                         counted(happened.connects(), "connect", "connects"));
      break;
    case MomentKind::busy:
      text = fmt::format(
          "most connects: {} per second",
          short_rate(static_cast<double>(happened.connects()) / std::max(happened.seconds, 0.001)));
      break;
    case MomentKind::full: {
      const LaneReport& lane = happened.report.lanes.front();
      text = fmt::format("fullest lane: {} of {} free toward {}", count_text(lane.counts.free),
                         counted(lane.counts.capacity, "port", "ports"),
                         to_text(destination_of(lane.key)));
      break;
    }
    case MomentKind::still:
      text = fmt::format("poold stood still for {}: no sample in that time",
                         span_text(happened.stood_still));
      break;
  }
  const std::string at = clock_text(happened.until_ns, now);
  const std::size_t indent = at.size() + 4;
  std::string lines = wrapped(text, kTerminalWidth, indent);
  return lines.replace(0, indent, "  " + at + "  ");
}

std::string moments(const HistoryReading& history, const HistorySpan& span, std::uint64_t now) {
  std::string text;
  for (const Moment& moment : worst_moments(history, span)) {
    text += moment_line(history, moment, now);
  }
  return text.empty() ? text : "\nWhen it was worst (the second, or ten, up to that time)\n" + text;
}

std::string lanes_then(const HistoryReading& history, const HistorySpan& span, std::uint64_t now) {
  const std::size_t at = fullest_moment(history, span);
  const HistoryPoint& point = history.points()[at];
  std::vector<LaneReport> lanes = point.lanes;
  std::erase_if(lanes,
                [](const LaneReport& lane) { return lane.counts.free == lane.counts.capacity; });
  if (lanes.empty()) return "";
  const LanesView view(std::move(lanes), kTerminalWidth - 2, {});
  std::string text =
      fmt::format("\nThe fullest lanes at {} (of {})\n  ", clock_text(point.at_ns, now),
                  count_text(std::max<std::uint64_t>(point.lanes_in_service, view.size()))) +
      plain_text(view.heading());
  for (std::size_t i = 0; i < view.size(); ++i) text += "  " + plain_text(view.row(i));
  return text;
}

}  // namespace

std::string clock_text(std::uint64_t realtime_ns, std::uint64_t now_ns) {
  const std::tm then = fmt::localtime(calendar_time(realtime_ns));
  const std::tm today = fmt::localtime(calendar_time(now_ns));
  const bool same_day = then.tm_year == today.tm_year && then.tm_yday == today.tm_yday;
  return same_day ? fmt::format("{:%H:%M:%S}", then) : fmt::format("{:%Y-%m-%d %H:%M:%S}", then);
}

std::string span_text(double seconds) {
  if (seconds < 59.5) return fmt::format("{:.0f} s", seconds);
  return short_age(seconds + 0.5);
}

std::string history_as_text(const HistoryReading& history, const Report& report,
                            const Since& since) {
  const HistorySpan span = chosen_span(history, since);
  const Happened all = history.between(span.from, span.to);
  std::string text = wrapped(first_line(history, span, since.now_ns) + ".", kTerminalWidth, 0) +
                     limits(history, span, report, since);
  if (all.connects() != 0) {
    text += fmt::format("\nTCP connects\n  {:<12}{:>12}{:>12}{:>12}{:>12}\n", "path", "connects",
                        "per second", "p50", "p99") +
            path_row(Route::pool, all) + path_row(Route::kernel, all);
  }
  return text + reasons_and_failures(all.report) + moments(history, span, since.now_ns) +
         lanes_then(history, span, since.now_ns);
}

}  // namespace portpool
