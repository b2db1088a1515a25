#include <fmt/format.h>
#include <unistd.h>

#include <chrono>

#include "cli/commands.h"
#include "cli/outlet.h"
#include "observe/trace_tap.h"
#include "observe/trace_text.h"

namespace portpool {
namespace {

using namespace std::chrono_literals;

// The ring holds 0.16 s of 100,000 connects a second.
constexpr std::chrono::milliseconds kPause = 20ms;

void last_words(const TraceTap& tap) {
  if (tap.lost() != 0) {
    fmt::print(stderr,
               "poold: {} calls are missing: they came faster than they could be printed; narrow "
               "the output with --pid, --destination or --min-us\n",
               tap.lost());
  }
  if (tap.pauses() != 0) {
    fmt::print(stderr,
               "poold: the trace was off {} times, because nobody read the output for more than 3 "
               "s; calls in between are missing\n",
               tap.pauses());
  }
}

}  // namespace

int trace_command(const TraceOptions& options) {
  TraceTap tap(options.socket);
  Outlet outlet;
  TraceTable table(isatty(STDOUT_FILENO) == 1);
  if (!options.json) outlet.print(table.heading());
  const auto start = std::chrono::steady_clock::now();
  const auto time_is_up = [&] {
    return options.seconds > 0 && std::chrono::steady_clock::now() - start >=
                                      std::chrono::duration<double>(options.seconds);
  };
  bool last_look = false;
  while (!last_look) {
    outlet.wait(kPause);
    last_look = outlet.ended() || time_is_up();
    std::string text;
    tap.poll([&](const TraceRecord& record) {
      if (!options.filter.matches(record)) return;
      text += options.json ? trace_json(record) : table.row(record);
    });
    outlet.print(text);
    if (!last_look) tap.check_daemon();
  }
  if (!outlet.closed()) last_words(tap);
  return 0;
}

}  // namespace portpool
