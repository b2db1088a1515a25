#include <fmt/format.h>

#include <chrono>
#include <optional>

#include "base/address_text.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/config_facts.h"
#include "cli/outlet.h"
#include "cli/watch.h"
#include "daemon/config.h"
#include "doctor/checks.h"
#include "doctor/destination.h"
#include "doctor/report.h"
#include "observe/history.h"
#include "observe/report.h"
#include "observe/segment_reader.h"

namespace portpool {
namespace {

// Read for each look: absent sources come and go.
std::optional<doctor::ConfigFacts> config_facts(const std::string& config) {
  if (config.empty()) return std::nullopt;
  return facts_of(load_config(config, AbsentSources::warning));
}

doctor::LaneTableState lane_table_of(const Report& report) {
  doctor::LaneTableState state{
      report.lane_places,
      static_cast<std::uint32_t>(report.lanes.size()),
      report.fallbacks[static_cast<std::size_t>(FallbackReason::k_no_lane)],
      {},
      report.fallbacks[static_cast<std::size_t>(FallbackReason::k_no_source)]};
  for (const Endpoint& destination : report.rewritten()) {
    state.rewritten.push_back(to_text(destination));
  }
  return state;
}

doctor::ExpectedClients expected_of(const Report& report) {
  doctor::ExpectedClients expected{report.expected.size(), {}};
  for (const ExpectedReport& one : report.expected) {
    if (!one.is_missing()) continue;
    const AttendanceText& text = kExpectedTexts[static_cast<std::size_t>(one.state)];
    expected.missing.push_back({std::string(kExpectedKinds[static_cast<std::size_t>(one.kind)]),
                                for_terminal(one.name), std::string(text.name),
                                std::string(text.sentence)});
  }
  return expected;
}

std::optional<doctor::ConnectTrouble> trouble_of(const HistoryReading& history, TroubleKind kind,
                                                 std::uint64_t now_ns) {
  const auto found = present_trouble(history, kind);
  if (!found) return std::nullopt;
  const bool known = found->reason != FallbackReason::k_count;
  return doctor::ConnectTrouble{clock_text(found->began_ns, now_ns),
                                span_text(found->seconds),
                                found->longer,
                                found->affected,
                                found->connects,
                                known ? std::string(name_of(found->reason)) : ""};
}

std::optional<doctor::ConnectRecord> record_of(const SegmentView& view) {
  if (view.history() == nullptr) return std::nullopt;
  const std::uint64_t now_ns = clock_ns(CLOCK_REALTIME);
  const HistoryReading history(view, now_ns);
  doctor::ConnectRecord record;
  record.missed = trouble_of(history, TroubleKind::missed, now_ns);
  record.no_port = trouble_of(history, TroubleKind::no_port, now_ns);
  if (!history.empty()) record.from = clock_text(history.points().front().at_ns, now_ns);
  return record;
}

// Nothing, where no daemon lets us look.
void ask_daemon(const std::string& socket, doctor::Facts& facts) {
  try {
    const SegmentReader reader(socket);
    const Report report = read_report(reader.view());
    if (report.stopped) return;
    facts.lane_table = lane_table_of(report);
    facts.expected = expected_of(report);
    facts.record = record_of(reader.view());
  } catch (const UserError&) {
  }
}

class Doctor {
 public:
  explicit Doctor(const DoctorOptions& options) : options_(options) {
    if (!options.destination.empty()) {
      destination_ = doctor::resolve_destination(options.destination);
    }
  }

  std::vector<doctor::Check> look() {
    if (destination_) return doctor::explain_destination(*destination_, options_.socket);
    doctor::Facts facts = doctor::gather_facts(options_.socket);
    ask_daemon(options_.socket, facts);
    facts.config = config_facts(options_.config);
    facts.earlier = std::move(earlier_);
    earlier_ = facts.counters;
    return doctor::run_checks(facts);
  }

  std::string text_of(const std::vector<doctor::Check>& checks) const {
    if (options_.json) return doctor::checks_as_json(checks, options_.watching);
    const std::string text = doctor::checks_as_text(
        checks, options_.all || destination_.has_value(), doctor::stdout_wants_colour());
    return options_.watching ? watch_heading() + text + "\n" : text;
  }

 private:
  const DoctorOptions& options_;
  std::optional<doctor::NamedDestination> destination_;
  std::optional<kernel::NetstatCounters> earlier_;
};

}  // namespace

std::string doctor_report(const DoctorOptions& options) {
  return doctor::checks_as_json(Doctor(options).look(), false);
}

int doctor_command(const DoctorOptions& options) {
  const std::chrono::milliseconds interval = watch_interval(options.watch);
  Doctor doctor(options);
  // Watching ends with the status of its last look; a single look may be broken off.
  std::optional<Outlet> outlet;
  if (options.watching) outlet.emplace();
  for (;;) {
    const std::vector<doctor::Check> checks = doctor.look();
    if (!outlet) outlet.emplace();
    outlet->print(doctor.text_of(checks));
    if (options.watching) outlet->wait(interval);
    if (!options.watching || outlet->ended()) return doctor::exit_status(doctor::overall(checks));
  }
}

}  // namespace portpool
