// The kernel's TCP socket table, read from /proc/net/tcp and tcp6 (proc(5)): on purpose not the way
// that poold reads it.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

namespace portpool::test {

struct TableRow {
  std::string local_address;
  std::uint16_t local_port = 0;
  std::string remote;            // "127.0.0.1:9001", "[::1]:9001"
  int state = 0;                 // as in <netinet/tcp.h>
  bool time_wait_timer = false;  // TIME_WAIT, or FIN_WAIT2 that nobody owns any more

  bool operator==(const TableRow&) const = default;
};

// Sockets of the calling process's network namespace. One read() sees a consistent row, not a
// consistent table: read it while nothing moves.
std::vector<TableRow> read_kernel_table();

// The local ports of the sockets between one source address and one destination.
struct TablePorts {
  std::set<std::uint16_t> used;
  std::set<std::uint16_t> waiting;

  bool operator==(const TablePorts&) const = default;
};
TablePorts ports_between(const std::vector<TableRow>& table, const std::string& source,
                         const std::string& destination);

}  // namespace portpool::test
