#include <fmt/chrono.h>
#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/json_text.h"
#include "observe/history_moments.h"
#include "observe/json_parts.h"
#include "observe/quantile.h"

namespace portpool {
namespace {

using HistoryJson = nlohmann::ordered_json;

std::string utc_text(std::uint64_t realtime_ns) {
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(calendar_time(realtime_ns)),
                     realtime_ns / 1'000'000 % 1000);
}

HistoryJson figures(const Happened& happened) {
  HistoryJson latency = HistoryJson::array();
  for (const Route path : {Route::pool, Route::kernel}) {
    const LatencySum sum = happened.report.path(path);
    if (sum.count == 0) continue;
    latency.push_back({{"path", name_of(path)},
                       {"count", sum.count},
                       {"p50_us", quantile_us(sum, 0.5)},
                       {"p99_us", quantile_us(sum, 0.99)}});
  }
  HistoryJson results = HistoryJson::object();
  for (std::size_t i = 0; i < kConnectResults; ++i) {
    const std::uint64_t count = happened.report.result(static_cast<ConnectResult>(i));
    if (count != 0) results[std::string(kResultTexts[i].name)] = count;
  }
  return {{"seconds", happened.seconds},
          {"connects", connects_as_json(happened.report)},
          {"fallbacks", fallbacks_as_json(happened.report)},
          {"results", results},
          {"errors", happened.errors()},
          {"rejections", happened.report.counter(Counter::k_rejections)},
          {"latency", latency}};
}

HistoryJson lanes_of(const HistoryPoint& point) {
  HistoryJson list = HistoryJson::array();
  for (const LaneReport& lane : point.lanes) list.push_back(lane_as_json(lane));
  return list;
}

HistoryJson samples_of(const HistoryReading& history, const HistorySpan& span) {
  HistoryJson list = HistoryJson::array();
  for (std::size_t i = span.from + 1; i <= span.to; ++i) {
    const Happened happened = history.between(i - 1, i);
    HistoryJson sample = {{"until", utc_text(happened.until_ns)}};
    sample.update(figures(happened));
    sample["stood_still_s"] = happened.stood_still;
    sample["attached"] = history.points()[i].clients;
    sample["lanes_in_service"] = history.points()[i].lanes_in_service;
    sample["fullest_lanes"] = lanes_of(history.points()[i]);
    list.push_back(std::move(sample));
  }
  return list;
}

}  // namespace

std::string history_as_json(const HistoryReading& history, const Report& report,
                            const Since& since) {
  const HistorySpan span = chosen_span(history, since);
  HistoryJson worst = HistoryJson::array();
  for (const Moment& moment : worst_moments(history, span)) {
    HistoryJson one = {{"what", name_of(moment.kind)},
                       {"until", utc_text(history.points()[moment.at].at_ns)}};
    one.update(figures(history.between(moment.at - 1, moment.at)));
    worst.push_back(std::move(one));
  }
  HistoryJson root = {{"schema", 1},
                      {"alive", report.alive()},
                      {"record_begins", utc_text(history.points().front().at_ns)},
                      {"record_begins_with_daemon", history.begins_with_daemon()},
                      {"complete", !span.cut},
                      {"from", utc_text(history.points()[span.from].at_ns)},
                      {"until", utc_text(history.points()[span.to].at_ns)}};
  root.update(figures(history.between(span.from, span.to)));
  root["worst"] = worst;
  root["samples"] = samples_of(history, span);
  return json_text(root);
}

}  // namespace portpool
