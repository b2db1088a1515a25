#include <nlohmann/json.hpp>
#include <utility>

#include "base/address_text.h"
#include "base/clock.h"
#include "base/json_text.h"
#include "observe/json_parts.h"
#include "observe/quantile.h"
#include "observe/report.h"

namespace portpool {
namespace {

using Json = nlohmann::ordered_json;

Json results(const Report& report) {
  Json counts = Json::object();
  for (std::size_t i = 0; i < kConnectResults; ++i) {
    counts[std::string(kResultTexts[i].name)] = report.result(static_cast<ConnectResult>(i));
  }
  return counts;
}

Json latency(const Report& report) {
  Json list = Json::array();
  for (const LatencyReport& part : report.latency) {
    if (part.latency.count == 0) continue;
    list.push_back({{"arm", name_of(part.arm)},
                    {"path", name_of(part.path)},
                    {"blocking", part.blocking},
                    {"count", part.latency.count},
                    {"p50_us", quantile_us(part.latency, 0.5)},
                    {"p90_us", quantile_us(part.latency, 0.9)},
                    {"p99_us", quantile_us(part.latency, 0.99)},
                    {"p999_us", quantile_us(part.latency, 0.999)},
                    {"max_us", to_us(part.latency.max_ns)}});
  }
  return list;
}

Json lanes(const Report& report) {
  Json list = Json::array();
  for (const LaneReport& lane : report.lanes) {
    Json one = lane_as_json(lane);
    one.update({{"reusable", lane.counts.reusable},
                {"rejections", lane.rejections},
                {"exhausted", lane.exhausted},
                {"connects", lane.connects},
                {"rewritten", lane.rewritten}});
    list.push_back(std::move(one));
  }
  return list;
}

Json promises(const Report& report) {
  Json list = Json::array();
  for (const PromisesReport& promises : report.promises) {
    list.push_back({{"pool", promises.pool},
                    {"source", to_text(promises.source)},
                    {"capacity", promises.capacity},
                    {"free", promises.free},
                    {"shared", promises.shared},
                    {"promised", promises.promised}});
  }
  return list;
}

Json attaches_by_result(const Report& report) {
  Json counts = Json::object();
  for (std::size_t i = 0; i < kAttachRows; ++i) {
    counts[std::string(kAttachTexts[i].name)] = report.attaches[i];
  }
  return counts;
}

Json expected_ones(const Report& report) {
  Json list = Json::array();
  for (const ExpectedReport& one : report.expected) {
    const AttendanceText& text = kExpectedTexts[static_cast<std::size_t>(one.state)];
    list.push_back({{"kind", kExpectedKinds[static_cast<std::size_t>(one.kind)]},
                    {"name", one.name},
                    {"served", one.state == ExpectedState::served},
                    {"state", text.name},
                    {"text", text.sentence}});
  }
  return list;
}

}  // namespace

std::string report_as_json(const Report& report) {
  Json counters = Json::object();
  for (std::size_t i = 0; i < kCounters; ++i) {
    counters[std::string(kCounterTexts[i].name)] = report.counters[i];
  }
  const Json root = {{"schema", 1},
                     {"daemon",
                      {{"pid", report.pid},
                       {"version", report.version},
                       {"layout", report.layout},
                       {"generation", report.generation},
                       {"heartbeat_age_ms", report.heartbeat_age_ms},
                       {"uptime_s", report.uptime_s},
                       {"mode", name_of(report.control.mode)},
                       {"stopped", report.stopped},
                       {"other_network_namespace", report.elsewhere}}},
                     {"strategy", name_of(report.control.strategy)},
                     {"port_range", {{"low", report.port_low}, {"high", report.port_high}}},
                     {"clients",
                      {{"attached", report.clients},
                       {"attached_total", report.counter(Counter::k_attaches)},
                       {"refused", report.attaches_refused},
                       {"attaches", attaches_by_result(report)}}},
                     {"expected", expected_ones(report)},
                     {"connects", connects_as_json(report)},
                     {"fallbacks", fallbacks_as_json(report)},
                     {"rejections", report.counter(Counter::k_rejections)},
                     {"results", results(report)},
                     {"latency", latency(report)},
                     {"lane_table",
                      {{"places", report.lane_places},
                       {"in_service", report.lanes.size()},
                       {"taken", report.lanes_taken()},
                       {"full", report.table_full()}}},
                     {"lanes", lanes(report)},
                     {"promises", promises(report)},
                     {"counters", counters},
                     {"reconcile",
                      {{"passes", report.reconcile_passes},
                       {"cpu_ms", static_cast<double>(report.reconcile_cpu_ns) / 1e6}}}};
  return json_text(root);
}

}  // namespace portpool
