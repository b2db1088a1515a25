#include <fmt/chrono.h>
#include <fmt/format.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/error.h"
#include "base/hidden_addresses.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/output_file.h"
#include "kernel/proc_file.h"
#include "observe/history.h"
#include "observe/report_text.h"
#include "observe/segment_reader.h"

namespace portpool {
namespace {

constexpr std::size_t kMostOfAFile = std::size_t{1} << 20;

// What the kernel says of ports and TCP, here in this network namespace.
constexpr const char* kFiles[] = {
    "/proc/version",
    "/proc/loadavg",
    "/proc/uptime",
    "/proc/sys/net/ipv4/ip_local_port_range",
    "/proc/sys/net/ipv4/ip_local_reserved_ports",
    "/proc/sys/net/ipv4/ip_unprivileged_port_start",
    "/proc/sys/net/ipv4/ip_nonlocal_bind",
    "/proc/sys/net/ipv4/tcp_tw_reuse",
    "/proc/sys/net/ipv4/tcp_tw_reuse_delay",
    "/proc/sys/net/ipv4/tcp_timestamps",
    "/proc/sys/net/ipv4/tcp_fin_timeout",
    "/proc/sys/net/ipv4/tcp_max_tw_buckets",
    "/proc/sys/net/ipv4/tcp_max_orphans",
    "/proc/sys/net/netfilter/nf_conntrack_count",
    "/proc/sys/net/netfilter/nf_conntrack_max",
    "/proc/sys/fs/file-nr",
    "/proc/net/sockstat",
    "/proc/net/sockstat6",
    "/proc/net/snmp",
    "/proc/net/netstat",
};
// Of poold itself.
constexpr const char* kProcessFiles[] = {"status", "limits", "cgroup", "timens_offsets"};

std::string section(std::string_view title, const std::string& text) {
  return fmt::format("==== {}\n{}{}\n", title, text,
                     text.empty() || text.ends_with('\n') ? "" : "\n");
}

std::string file_section(const std::string& path) {
  const auto content = kernel::read_proc_file(path, kMostOfAFile);
  if (!content) return section(path, fmt::format("(not read: {})", std::strerror(errno)));
  return section(path, lines_for_terminal(*content));
}

// What a command says, or why it could say nothing: a report with a hole is better than none.
template <class Say>
std::string attempt(std::string_view title, Say say) {
  try {
    return section(title, say());
  } catch (const std::exception& error) {
    return section(title, fmt::format("(not available: {})", error.what()));
  }
}

std::string of_the_daemon(const std::string& socket) {
  std::string text;
  std::int32_t pid = 0;
  text += attempt("poold status --json", [&] {
    const Report report = read_watched_report(SegmentReader(socket).view());
    if (report.alive()) pid = report.pid;
    return report_as_json(report);
  });
  text += attempt("poold status --since 1h", [&] {
    const SegmentReader reader(socket);
    const Since since{std::chrono::hours(1), clock_ns(CLOCK_REALTIME)};
    const HistoryReading history(reader.view(), since.now_ns);
    if (history.empty()) throw UserError("nothing is recorded");
    return history_as_text(history, read_watched_report(reader.view()), since);
  });
  if (pid <= 0) return text;
  for (const char* name : kProcessFiles) {
    text += file_section(fmt::format("/proc/{}/{}", pid, name));
  }
  return text;
}

}  // namespace

int bugreport_command(const BugreportOptions& options) {
  // Before the work is done.
  OutputFile file(options.file);
  std::string text = section("portpool bug report",
                             fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr))));
  text += attempt("poold version", [] { return version_text(); });
  text += of_the_daemon(options.socket);
  text += attempt("poold doctor --json", [&] {
    DoctorOptions doctor;
    doctor.socket = options.socket;
    return doctor_report(doctor);
  });
  if (!options.config.empty()) text += file_section(options.config);
  for (const char* path : kFiles) text += file_section(path);
  if (options.hide_addresses) text = without_addresses(text);
  if (!file) {
    fmt::print("{}", text);
    return 0;
  }
  file.write(text);
  fmt::print(stderr, "poold: the report is in {}; look through it before you pass it on{}\n",
             for_terminal(options.file),
             options.hide_addresses ? "" : " (--hide-addresses replaces addresses)");
  return 0;
}

}  // namespace portpool
