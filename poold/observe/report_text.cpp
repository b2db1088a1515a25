#include <fmt/format.h>

#include "base/address_text.h"
#include "base/clock.h"
#include "base/text.h"
#include "observe/quantile.h"
#include "observe/report.h"

namespace portpool {
namespace {

std::string path_line(const char* label, const LatencySum& latency) {
  if (latency.count == 0) return fmt::format("  {:<12}{:>12}\n", label, 0);
  return fmt::format("  {:<12}{:>12}{:>11.1f}{:>11.1f}{:>11.1f}{:>11.1f}\n", label, latency.count,
                     quantile_us(latency, 0.5), quantile_us(latency, 0.99),
                     quantile_us(latency, 0.999), to_us(latency.max_ns));
}

std::string paths(const Report& report) {
  return fmt::format("  {:<12}{:>12}{:>11}{:>11}{:>11}{:>11}\n", "path", "connects", "p50 us",
                     "p99 us", "p99.9 us", "max us") +
         path_line("pool", report.path(Route::pool)) +
         path_line("kernel", report.path(Route::kernel));
}

std::string fallbacks(const Report& report) {
  std::string text;
  for (std::size_t i = 0; i < kFallbackReasons; ++i) {
    if (report.fallbacks[i] == 0) continue;
    text += fmt::format("  {:>12}  {}\n", report.fallbacks[i], kFallbackTexts[i].sentence);
  }
  const std::uint64_t own = report.counter(Counter::k_passthrough_own_port);
  if (own != 0) text += fmt::format("  {:>12}  not ours: the program chose the port itself\n", own);
  return text.empty() ? text : "Why the kernel's path was taken\n" + text;
}

std::string errors(const Report& report) {
  std::string text;
  const auto add = [&](std::uint64_t count, std::string_view what) {
    if (count != 0) text += fmt::format("  {:>12}  {}\n", count, what);
  };
  for (std::size_t i = 0; i < kConnectResults; ++i) {
    const auto result = static_cast<ConnectResult>(i);
    if (result == ConnectResult::k_ok || result == ConnectResult::k_in_progress) continue;
    add(report.result(result), fmt::format("connects that {}", kResultTexts[i].sentence));
  }
  add(report.counter(Counter::k_rejections),
      kCounterTexts[static_cast<std::size_t>(Counter::k_rejections)].help);
  return text.empty() ? text : "Failures\n" + text;
}

std::string lane_rows(const Report& report) {
  if (report.lanes.empty())
    return "No lane yet: no program under the shim has connected anywhere.\n";
  std::string text =
      fmt::format("Lanes: {} of {} places taken{}\n", report.lanes.size(), report.lane_places,
                  report.table_full() ? "; others take the kernel's path until lanes "
                                        "come free (raise max_lanes)"
                                      : "");
  text +=
      fmt::format("Lanes, fullest first\n  {:<12}{:<18}{:<24}{:>9}{:>9}{:>9}{:>9}{:>9}\n", "pool",
                  "source", "destination", "capacity", "in use", "waiting", "blocked", "free");
  constexpr std::size_t kShown = 20;
  for (std::size_t i = 0; i < report.lanes.size() && i < kShown; ++i) {
    const LaneReport& lane = report.lanes[i];
    text += fmt::format("  {:<12}{:<18}{:<24}{:>9}{:>9}{:>9}{:>9}{:>9}\n", for_terminal(lane.pool),
                        to_text(lane.key.source),
                        to_text(Endpoint{lane.key.destination, lane.key.destination_port}),
                        lane.counts.capacity, lane.counts.in_use, lane.counts.quarantined,
                        lane.counts.blocked, lane.counts.free);
  }
  if (report.lanes.size() > kShown) {
    text += fmt::format("  ... and {} more (--json shows all)\n", report.lanes.size() - kShown);
  }
  return text;
}

std::string rewritten(const Report& report) {
  constexpr std::size_t kShown = 5;
  const std::vector<Endpoint> destinations = report.rewritten();
  if (destinations.empty()) return "";
  std::string text = "Rewritten on the way, and so on the kernel's path:";
  for (std::size_t i = 0; i < destinations.size() && i < kShown; ++i) {
    text += " " + to_text(destinations[i]);
  }
  if (destinations.size() > kShown) {
    text += fmt::format(" and {} more (--json shows all)", destinations.size() - kShown);
  }
  return text + "\n";
}

std::string health(const Report& report) {
  if (report.stopped) return "stopped; programs under the shim are on the kernel's path";
  if (report.heartbeat_age_ms > kHeartbeatStaleMs) {
    return fmt::format("no heartbeat for {} ms; programs under the shim are on the kernel's path",
                       report.heartbeat_age_ms);
  }
  return fmt::format("alive, last heartbeat {} ms ago", report.heartbeat_age_ms);
}

}  // namespace

std::string report_as_text(const Report& report) {
  return fmt::format("poold {} (pid {}, layout {}), up {} s: {}\n", for_terminal(report.version),
                     report.pid, report.layout, report.uptime_s, health(report)) +
         fmt::format("mode {}, strategy {}, ports {}-{}, {} attached\n\n",
                     name_of(report.control.mode), name_of(report.control.strategy),
                     report.port_low, report.port_high, report.clients) +
         "TCP connects\n" + paths(report) + fallbacks(report) + errors(report) + "\n" +
         lane_rows(report) + rewritten(report);
}

namespace {

// Why no connect came through the library.
std::string why_none(const Report& report, const std::string& not_covered) {
  if (!not_covered.empty()) return not_covered;
  if (report.attaches_refused != 0) {
    return fmt::format(
        "poold refused {} time{} to let a program attach; is its user in socket_group, and is it "
        "in "
        "this network namespace?",
        report.attaches_refused, report.attaches_refused == 1 ? "" : "s");
  }
  if (report.counter(Counter::k_attaches) == 0) {
    return "no program loaded it and reached poold; poold check tells what is so in one";
  }
  return "the programs that loaded it made none (io_uring and raw system calls are not seen)";
}

}  // namespace

std::string report_summary(const Report& report, const std::string& not_covered) {
  const std::uint64_t pool = report.path(Route::pool).count;
  const std::uint64_t kernel = report.path(Route::kernel).count;
  if (pool + kernel == 0) {
    return fmt::format("portpool: no TCP connect passed through the shim: {}\n",
                       why_none(report, not_covered));
  }
  return fmt::format("portpool: {} TCP connects, {} of them by the pool\n", pool + kernel, pool) +
         paths(report) + fallbacks(report) + errors(report);
}

}  // namespace portpool
