#include <fmt/format.h>

#include <chrono>

#include "base/clock.h"
#include "base/error.h"
#include "base/json_text.h"
#include "check/programs.h"
#include "cli/commands.h"
#include "cli/outlet.h"
#include "cli/watch.h"
#include "observe/hgrm.h"
#include "observe/history.h"
#include "observe/report_text.h"
#include "observe/segment_reader.h"

namespace portpool {
namespace {

// The latency of the connects that the options choose, as one distribution.
LatencySum chosen_latency(const Report& report, const StatusOptions& options) {
  LatencySum sum;
  for (const LatencyReport& part : report.latency) {
    const bool arm = options.arm.empty() || options.arm == name_of(part.arm);
    const bool path = options.path.empty() || options.path == name_of(part.path);
    if (arm && path) sum.add(part.latency);
  }
  return sum;
}

std::string history_text(const SegmentView& view, const Report& report,
                         const StatusOptions& options) {
  const Since since{*options.since, clock_ns(CLOCK_REALTIME)};
  const HistoryReading history(view, since.now_ns);
  if (view.history() == nullptr) {
    throw UserError(
        fmt::format("this poold keeps no record (layout {}): --since needs a daemon of "
                    "layout 3.2",
                    report.layout));
  }
  if (history.empty()) {
    throw UserError("the record has just begun; ask again in a few seconds");
  }
  return options.json ? history_as_json(history, report, since) + "\n"
                      : history_as_text(history, report, since);
}

std::string text_of(const SegmentView& view, const Report& report, const StatusOptions& options) {
  if (options.since) return history_text(view, report, options);
  if (options.hgrm) return latency_as_hgrm(chosen_latency(report, options));
  if (!options.clients) {
    return options.json ? report_as_json(report) + "\n" : report_as_text(report, options.lanes);
  }
  const check::Programs programs = check::list_programs(options.socket);
  if (options.json) {
    auto root = nlohmann::ordered_json::parse(report_as_json(report));
    root.update(check::programs_as_json(programs));
    return json_text(root) + "\n";
  }
  return report_as_text(report, options.lanes) + "\nPrograms under the library\n" +
         check::programs_as_text(programs, check::screen_width());
}

// Ends when nobody reads any more, or with the daemon's end.
int watch(const StatusOptions& options) {
  const std::chrono::milliseconds interval = watch_interval(options.watch);
  Outlet outlet;
  for (;;) {
    // Opened anew each time: there may be a successor by then.
    const SegmentReader reader(options.socket);
    const Report report = read_watched_report(reader.view());
    const std::string text = text_of(reader.view(), report, options);
    outlet.print(options.json ? text : watch_heading() + text + "\n");
    outlet.wait(interval);
    if (outlet.ended()) return report.alive() ? 0 : 1;
  }
}

}  // namespace

int status_command(const StatusOptions& options) {
  if (options.watching) return watch(options);
  const SegmentReader reader(options.socket);
  const Report report = read_watched_report(reader.view());
  fmt::print("{}", text_of(reader.view(), report, options));
  return report.alive() ? 0 : 1;
}

}  // namespace portpool
