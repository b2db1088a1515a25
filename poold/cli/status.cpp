#include <fmt/format.h>

#include <cstdio>
#include <memory>

#include "cli/commands.h"
#include "stats/report.h"
#include "stats/segment_reader.h"

namespace portpool {
namespace {

struct Options {
  std::string socket;
  bool json = false;
};

int show(const Options& options) {
  const SegmentReader reader(options.socket);
  const Report report = read_report(reader.view());
  fmt::print("{}{}", options.json ? report_as_json(report) : report_as_text(report),
             options.json ? "\n" : "");
  const bool alive = !report.stopped && report.heartbeat_age_ms <= kHeartbeatStaleMs;
  return alive ? 0 : 1;
}

}  // namespace

void add_status_command(CLI::App& program, int& status) {
  CLI::App* command =
      program.add_subcommand("status", "Show counters, latency and lanes of a daemon");
  auto options = std::make_shared<Options>();
  add_socket_option(*command, options->socket);
  command->add_flag("--json", options->json, "Print JSON");
  command->callback([options, &status] { status = show(*options); });
}

}  // namespace portpool
