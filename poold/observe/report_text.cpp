#include "observe/report_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "base/address_text.h"
#include "base/clock.h"
#include "base/number_text.h"
#include "base/text.h"
#include "observe/quantile.h"

namespace portpool {
namespace {

std::string path_line(const char* label, const LatencySum& latency) {
  if (latency.count == 0) return fmt::format("  {:<12}{:>12}\n", label, 0);
  return fmt::format("  {:<12}{:>12}{:>11}{:>11}{:>11}{:>11}\n", label, count_text(latency.count),
                     time_text(quantile_us(latency, 0.5)), time_text(quantile_us(latency, 0.99)),
                     time_text(quantile_us(latency, 0.999)), time_text(to_us(latency.max_ns)));
}

std::string paths(const Report& report) {
  return fmt::format("  {:<12}{:>12}{:>11}{:>11}{:>11}{:>11}\n", "path", "connects", "p50", "p99",
                     "p99.9", "longest") +
         path_line("pool", report.path(Route::pool)) +
         path_line("kernel", report.path(Route::kernel));
}

// A count, and what it is the count of.
std::string count_line(std::uint64_t count, std::string_view what) {
  constexpr std::size_t kIndent = 16;
  if (count == 0) return "";
  std::string text = wrapped(what, kTerminalWidth, kIndent);
  return text.replace(0, kIndent, fmt::format("  {:>12}  ", count_text(count)));
}

std::string fallbacks(const Report& report) {
  std::string text;
  for (std::size_t i = 0; i < kFallbackReasons; ++i) {
    text += count_line(report.fallbacks[i],
                       fmt::format("{}: {}", kFallbackTexts[i].name, kFallbackTexts[i].sentence));
  }
  text += count_line(report.counter(Counter::k_passthrough_own_port),
                     "not ours: the program chose the port itself");
  return text.empty() ? text : "Why the kernel's path was taken\n" + text;
}

std::string errors(const Report& report) {
  std::string text;
  for (std::size_t i = 0; i < kConnectResults; ++i) {
    const auto result = static_cast<ConnectResult>(i);
    if (!is_failure(result)) continue;
    text += count_line(report.result(result),
                       fmt::format("connects that {}", kResultTexts[i].sentence));
  }
  text += count_line(report.counter(Counter::k_rejections),
                     kCounterTexts[static_cast<std::size_t>(Counter::k_rejections)].help);
  return text.empty() ? text : "Failures\n" + text;
}

std::string lane_rows(const Report& report, const ShownLanes& shown) {
  if (report.lanes.empty())
    return "No lane yet: no program under the shim has connected anywhere.\n";
  std::string text =
      fmt::format("Lanes: {} of {} taken{}\n", count_text(report.lanes_taken()),
                  counted(report.lane_places, "place", "places"),
                  report.table_full() ? "; others take the kernel's path until lanes\n"
                                        "come free (raise max_lanes)"
                                      : "");
  const LanesView view(report.lanes, kTerminalWidth - 2, shown.order);
  const std::size_t rows = std::min(view.size(), shown.most);
  if (rows != 0) text += "  " + plain_text(view.heading());
  for (std::size_t i = 0; i < rows; ++i) text += "  " + plain_text(view.row(i));
  if (view.size() > rows) {
    text += fmt::format("  ... and {} more (--lanes N shows more, --json all)\n",
                        count_text(view.size() - rows));
  }
  return text;
}

// Of programs that ask for a port before they connect.
std::string promises(const Report& report) {
  if (report.promises.empty()) return "";
  std::uint64_t promised = 0;
  std::uint64_t free = 0;
  for (const PromisesReport& of_source : report.promises) {
    promised += of_source.promised;
    free += of_source.free;
  }
  return wrapped(
      fmt::format("Early binds: {} told a port and not connected yet, {} left that "
                  "nobody has (--json shows them by source)",
                  counted(promised, "socket", "sockets"), counted(free, "port", "ports")),
      kTerminalWidth, 0);
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
  return wrapped(text, kTerminalWidth, 0);
}

// What a look from a container's shell, or from the host's, would not show otherwise.
std::string elsewhere(const Report& report) {
  if (!report.elsewhere) return "";
  return wrapped(
      "This command is in another network namespace than poold: programs here are not served by it "
      "(other_netns)",
      kTerminalWidth, 0);
}

// What the configuration expects and is not served, and why.
std::string missing(const Report& report) {
  if (!report.alive()) return "";
  std::string rows;
  for (const ExpectedReport& one : report.expected) {
    if (!one.is_missing()) continue;
    rows += wrapped(fmt::format("{}: {}", printable(one.name),
                                kExpectedTexts[static_cast<std::size_t>(one.state)].sentence),
                    kTerminalWidth, 2);
  }
  return rows.empty() ? "" : "\nExpected and not served\n" + rows;
}

std::string health(const Report& report) {
  if (report.stopped) return "stopped";
  const double age = static_cast<double>(report.heartbeat_age_ms) / 1000;
  if (report.heartbeat_age_ms > kHeartbeatStaleMs) return "no heartbeat for " + seconds_text(age);
  return fmt::format("alive, last heartbeat {} ago", seconds_text(age));
}

}  // namespace

std::string reasons_and_failures(const Report& report) {
  return fallbacks(report) + errors(report);
}

std::string report_as_text(const Report& report, const ShownLanes& shown) {
  return wrapped(standing(report), kTerminalWidth, 0) +
         fmt::format("poold {} (pid {}, layout {}), up {}: {}\n", for_terminal(report.version),
                     report.pid, report.layout, short_age(static_cast<double>(report.uptime_s)),
                     health(report)) +
         fmt::format("mode {}, strategy {}, ports {}-{}, {} attached\n",
                     name_of(report.control.mode), name_of(report.control.strategy),
                     report.port_low, report.port_high,
                     counted(report.clients, "process", "processes")) +
         elsewhere(report) + missing(report) + "\nTCP connects\n" + paths(report) +
         fallbacks(report) + errors(report) + "\n" + lane_rows(report, shown) + promises(report) +
         rewritten(report);
}

namespace {

// Why no connect came through the library.
std::string why_none(const Report& report, const std::string& not_covered) {
  if (!not_covered.empty()) return not_covered;
  if (report.attaches_refused != 0) {
    return fmt::format(
        "poold refused {} to let a program attach; is its user in socket_group, and is it in this "
        "network namespace?",
        counted(report.attaches_refused, "time", "times"));
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
  return fmt::format("portpool: {}, {} of them by the pool\n",
                     counted(pool + kernel, "TCP connect", "TCP connects"), count_text(pool)) +
         paths(report) + fallbacks(report) + errors(report);
}

}  // namespace portpool
