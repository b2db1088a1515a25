#include "kernel/proc_net.h"

#include <algorithm>

#include "base/parse_number.h"
#include "kernel/proc_file.h"
#include "kernel/sysctl.h"

namespace portpool::kernel {
namespace {

// Takes the first line off the front, without its end.
std::string_view take_line(std::string_view& text) {
  const std::size_t end = text.find('\n');
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return line;
}

// Takes the first word off the front; empty at the end.
std::string_view take_word(std::string_view& line) {
  line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
  const std::string_view word = line.substr(0, line.find_first_of(" \t"));
  line.remove_prefix(word.size());
  return word;
}

// The number behind `name` in the line that begins with `label`: "TCP: inuse 5 orphan 0 ...".
std::optional<long> labelled(std::string_view text, std::string_view label, std::string_view name) {
  while (!text.empty()) {
    std::string_view line = take_line(text);
    if (take_word(line) != label) continue;
    for (std::string_view word = take_word(line); !word.empty(); word = take_word(line)) {
      if (word == name) return whole_number<long>(take_word(line));
    }
  }
  return std::nullopt;
}

}  // namespace

std::optional<SocketStatistics> parse_socket_statistics(std::string_view sockstat,
                                                        std::string_view sockstat6) {
  const auto in_use = labelled(sockstat, "TCP:", "inuse");
  const auto time_wait = labelled(sockstat, "TCP:", "tw");
  const auto orphans = labelled(sockstat, "TCP:", "orphan");
  const auto allocated = labelled(sockstat, "TCP:", "alloc");
  if (!in_use || !time_wait || !orphans || !allocated) return std::nullopt;
  const long in_use6 = labelled(sockstat6, "TCP6:", "inuse").value_or(0);
  return SocketStatistics{*in_use + in_use6, *time_wait, *orphans, *allocated};
}

std::optional<SocketStatistics> socket_statistics() {
  const auto v4 = read_proc_file("/proc/net/sockstat");
  if (!v4) return std::nullopt;
  return parse_socket_statistics(*v4, read_proc_file("/proc/net/sockstat6").value_or(""));
}

NetstatCounters parse_netstat(std::string_view text) {
  NetstatCounters counters;
  while (!text.empty()) {
    std::string_view names = take_line(text);
    if (take_word(names) != "TcpExt:") continue;
    std::string_view values = take_line(text);
    if (take_word(values) != "TcpExt:") break;
    for (auto name = take_word(names); !name.empty(); name = take_word(names)) {
      const auto value = whole_number<std::uint64_t>(take_word(values));
      if (value) counters.emplace(name, *value);
    }
    break;
  }
  return counters;
}

NetstatCounters netstat_counters() {
  return parse_netstat(read_proc_file("/proc/net/netstat").value_or(""));
}

std::optional<std::uint64_t> parse_conntrack_column(std::string_view text,
                                                    std::string_view column) {
  std::string_view names = take_line(text);
  std::size_t index = 0;
  for (auto name = take_word(names); name != column; name = take_word(names), ++index) {
    if (name.empty()) return std::nullopt;
  }
  std::uint64_t sum = 0;
  while (!text.empty()) {
    std::string_view line = take_line(text);
    for (std::size_t i = 0; i < index; ++i) take_word(line);
    const auto value = whole_number<std::uint64_t>(take_word(line), 16);
    if (!value) return std::nullopt;
    sum += *value;
  }
  return sum;
}

std::optional<Conntrack> conntrack() {
  const auto entries = read_sysctl("net/netfilter/nf_conntrack_count");
  const auto limit = read_sysctl("net/netfilter/nf_conntrack_max");
  if (!entries || !limit) return std::nullopt;
  Conntrack found{*entries, *limit, std::nullopt, std::nullopt};
  if (const auto text = read_proc_file("/proc/net/stat/nf_conntrack")) {
    found.insert_failed = parse_conntrack_column(*text, "insert_failed");
    found.dropped = parse_conntrack_column(*text, "drop");
  }
  return found;
}

}  // namespace portpool::kernel
