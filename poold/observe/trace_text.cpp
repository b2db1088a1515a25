#include "observe/trace_text.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/address_text.h"
#include "base/clock.h"
#include "base/json_text.h"
#include "base/number_text.h"
#include "base/text.h"
#include "observe/report.h"
#include "observe/top/text.h"

namespace portpool {
namespace {

std::string comm_of(const TraceRecord& record) {
  char raw[sizeof record.comm] = {};
  std::memcpy(raw, &record.comm, sizeof raw);
  return printable({raw, strnlen(raw, sizeof raw)});
}

std::string result_of(const TraceRecord& record) {
  if (record.error == 0) return "ok";
  const char* name = strerrorname_np(record.error);
  return name != nullptr ? name : std::to_string(record.error);
}

// "" when there is nothing to tell.
std::string why_of(const TraceRecord& record) {
  if (record.why == TraceWhy::own_port) return "own_port";
  if (record.why == TraceWhy::failed_fast) return "failed_fast";
  const auto reason = static_cast<std::size_t>(record.why);
  if (reason == 0) return "";
  return reason <= kFallbackReasons ? std::string(kFallbackTexts[reason - 1].name) : "unknown";
}

// The reason tells the path.
std::string way_of(const TraceRecord& record) {
  const std::string why = why_of(record);
  return why.empty() ? name_of(record.path) : why;
}

std::string destination_of(const TraceRecord& record) {
  return to_text(Endpoint{record.destination.address, record.destination.port});
}

std::time_t seconds_of(const TraceRecord& record) {
  return static_cast<std::time_t>(record.started_ns / 1'000'000'000);
}

std::string clock_time(const TraceRecord& record) {
  return fmt::format("{:%H:%M:%S}.{:03}", fmt::localtime(seconds_of(record)),
                     record.started_ns / 1'000'000 % 1000);
}

std::string utc_time(const TraceRecord& record) {
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:06}Z", fmt::gmtime(seconds_of(record)),
                     record.started_ns / 1000 % 1'000'000);
}

}  // namespace

bool TraceFilter::matches(const TraceRecord& record) const {
  if (!pids.empty() && std::find(pids.begin(), pids.end(), record.pid) == pids.end()) return false;
  if (!destinations.empty() &&
      std::none_of(destinations.begin(), destinations.end(),
                   [&](const auto& pattern) { return pattern.matches(record.destination); })) {
    return false;
  }
  if (!comms.empty() && std::find(comms.begin(), comms.end(), comm_of(record)) == comms.end()) {
    return false;
  }
  if (failed && (record.error == 0 || record.error == EINPROGRESS)) return false;
  return to_us(record.duration_ns) >= min_us;
}

std::string NarrowTraceTable::heading() const {
  return fmt::format("{:<8} {:<15} {:<21} {:>7} {}\n", "TIME", "COMM[PID]", "DESTINATION", "TOOK",
                     "PATH OR REASON, ERROR");
}

std::string NarrowTraceTable::row(const TraceRecord& record) {
  constexpr std::size_t kProgramWidth = 15;
  constexpr std::size_t kDestinationWidth = 21;
  const std::string pid = fmt::format("[{}]", record.pid);
  const std::string program =
      shortened(comm_of(record), kProgramWidth - std::min(pid.size(), kProgramWidth)) + pid;
  std::string text =
      fmt::format("{:<8} {:<{}} {:<{}} {:>7} {} {}", clock_time(record).substr(0, 8), program,
                  kProgramWidth, shortened(destination_of(record), kDestinationWidth),
                  kDestinationWidth, time_text(to_us(record.duration_ns)), way_of(record),
                  record.error == 0 ? "" : result_of(record));
  text.erase(text.find_last_not_of(' ') + 1);
  return text + "\n";
}

std::string WideTraceTable::heading() const {
  return fmt::format("{:<12} {:>7} {:<15} {:<6} {:<{}} {:>5} {:<{}} {:>5} {:>9} {:<13} {}\n",
                     "TIME", "PID", "COMM", "PATH", "SADDR", source_width_, "LPORT", "DADDR",
                     destination_width_, "DPORT", "US", "RESULT", "WHY");
}

std::string WideTraceTable::row(const TraceRecord& record) {
  const bool known = record.source.port != 0;
  const std::string source = known ? to_text(record.source.address) : "-";
  const std::string destination = to_text(record.destination.address);
  std::string text;
  if (source.size() > source_width_ || destination.size() > destination_width_) {
    source_width_ = std::max(source_width_, source.size());
    destination_width_ = std::max(destination_width_, destination.size());
    if (repeat_heading_) text = heading();
  }
  text += fmt::format("{:<12} {:>7} {:<15} {:<6} {:<{}} {:>5} {:<{}} {:>5} {:>9.1f} {:<13} {}",
                      clock_time(record), record.pid, comm_of(record), name_of(record.path), source,
                      source_width_, known ? std::to_string(record.source.port) : "-", destination,
                      destination_width_, record.destination.port, to_us(record.duration_ns),
                      result_of(record), why_of(record));
  text.erase(text.find_last_not_of(' ') + 1);
  return text + "\n";
}

void TraceCount::add(const TraceRecord& record) {
  Sum& sum = sums_[{destination_of(record), way_of(record), result_of(record)}];
  const double us = to_us(record.duration_ns);
  ++sum.calls;
  sum.us += us;
  sum.longest_us = std::max(sum.longest_us, us);
}

std::vector<std::pair<TraceCount::Kind, TraceCount::Sum>> TraceCount::sorted() const {
  std::vector<std::pair<Kind, Sum>> kinds(sums_.begin(), sums_.end());
  std::stable_sort(kinds.begin(), kinds.end(),
                   [](const auto& a, const auto& b) { return a.second.calls > b.second.calls; });
  return kinds;
}

std::string TraceCount::as_text(std::size_t most) const {
  std::string text = fmt::format("{:>9} {:>7} {:>7}  {:<21} {}\n", "CALLS", "MEAN", "LONGEST",
                                 "DESTINATION", "PATH OR REASON, ERROR");
  std::uint64_t others = 0;
  std::size_t shown = 0;
  for (const auto& [kind, sum] : sorted()) {
    if (shown++ >= most) {
      others += sum.calls;
      continue;
    }
    const auto& [destination, way, result] = kind;
    text +=
        fmt::format("{:>9} {:>7} {:>7}  {:<21} {}{}\n", count_text(sum.calls),
                    time_text(sum.us / static_cast<double>(sum.calls)), time_text(sum.longest_us),
                    shortened(destination, 21), way, result == "ok" ? "" : " " + result);
  }
  if (others != 0)
    text += fmt::format("{:>9}  of {} other kinds\n", count_text(others), shown - most);
  return text;
}

std::string TraceCount::as_json() const {
  nlohmann::ordered_json kinds = nlohmann::ordered_json::array();
  for (const auto& [kind, sum] : sorted()) {
    const auto& [destination, way, result] = kind;
    kinds.push_back({{"destination", destination},
                     {"way", way},
                     {"result", result},
                     {"calls", sum.calls},
                     {"mean_us", sum.us / static_cast<double>(sum.calls)},
                     {"max_us", sum.longest_us}});
  }
  return json_text({{"schema", 1}, {"kinds", std::move(kinds)}}) + "\n";
}

std::string trace_json(const TraceRecord& record) {
  nlohmann::ordered_json line;
  line["time"] = utc_time(record);
  line["pid"] = record.pid;
  line["comm"] = comm_of(record);
  line["arm"] = name_of(record.arm);
  line["path"] = name_of(record.path);
  line["blocking"] = record.blocking;
  if (record.source.port != 0) {
    line["source"] = to_text(record.source.address);
    line["source_port"] = record.source.port;
  } else {
    line["source"] = nullptr;
    line["source_port"] = nullptr;
  }
  line["destination"] = to_text(record.destination.address);
  line["destination_port"] = record.destination.port;
  line["us"] = to_us(record.duration_ns);
  line["result"] = result_of(record);
  const std::string why = why_of(record);
  line["why"] = why.empty() ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(why);
  return json_text(line, -1) + "\n";
}

}  // namespace portpool
