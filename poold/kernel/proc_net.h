// The network stack's own counts under /proc/net, as the calling process's network namespace sees
// them. Missing or unreadable files yield nullopt or nothing, never a guess.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace portpool::kernel {

// /proc/net/sockstat and sockstat6, TCP.
struct SocketStatistics {
  long in_use = 0;     // listening or connecting or connected, both families; this namespace
  long time_wait = 0;  // this namespace
  long orphans = 0;    // the whole machine
  long allocated = 0;  // TIME_WAIT left out; the whole machine
};
std::optional<SocketStatistics> socket_statistics();
std::optional<SocketStatistics> parse_socket_statistics(std::string_view sockstat,
                                                        std::string_view sockstat6);

// The TcpExt counters of /proc/net/netstat by name, since this namespace was made.
using NetstatCounters = std::map<std::string, std::uint64_t, std::less<>>;
NetstatCounters netstat_counters();
NetstatCounters parse_netstat(std::string_view text);

// The connection tracking table of this network namespace. Namespaces have tables of their own, so
// that a container does not see the one of its host.
struct Conntrack {
  long entries = 0;
  long limit = 0;  // nf_conntrack_max; shared by all namespaces on most kernels
  // /proc/net/stat/nf_conntrack, all CPUs; nullopt: not shown by this kernel.
  std::optional<std::uint64_t> insert_failed;  // clashes, among them source ports that NAT lacked
  std::optional<std::uint64_t> dropped;        // packets lost because the table was full
};
std::optional<Conntrack> conntrack();  // nullopt: not loaded, or not to be seen from here
// Sums one column of /proc/net/stat/nf_conntrack (hexadecimal, one line for each CPU).
std::optional<std::uint64_t> parse_conntrack_column(std::string_view text, std::string_view column);

}  // namespace portpool::kernel
