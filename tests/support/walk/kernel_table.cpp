#include "support/walk/kernel_table.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <stdexcept>

namespace portpool::test {
namespace {

// tcp4_seq_show() and tcp6_seq_show() print each 32-bit word of an address in the host's byte
// order.
std::string address_text(const std::string& hex) {
  int family = hex.size() == 8 ? AF_INET : AF_INET6;
  in6_addr words{};
  for (std::size_t i = 0; i * 8 < hex.size() && i < 4; ++i) {
    const auto word = static_cast<std::uint32_t>(std::stoul(hex.substr(i * 8, 8), nullptr, 16));
    std::memcpy(words.s6_addr + i * 4, &word, sizeof word);
  }
  // An AF_INET6 socket between IPv4 addresses, as Java's are.
  if (family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&words)) {
    std::memmove(words.s6_addr, words.s6_addr + 12, 4);
    family = AF_INET;
  }
  char text[INET6_ADDRSTRLEN] = "";
  inet_ntop(family, &words, text, sizeof text);
  return text;
}

void read_into(const char* path, std::vector<TableRow>& rows) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) throw std::runtime_error(std::string("cannot read ") + path);
  while (std::getline(file, line)) {
    char local[33] = "";
    char remote[33] = "";
    unsigned local_port = 0;
    unsigned remote_port = 0;
    unsigned state = 0;
    unsigned timer = 0;
    if (std::sscanf(line.c_str(), " %*u: %32[0-9A-F]:%x %32[0-9A-F]:%x %x %*x:%*x %x:", local,
                    &local_port, remote, &remote_port, &state, &timer) != 6) {
      throw std::runtime_error(std::string(path) + ": not understood: " + line);
    }
    const std::string host = address_text(remote);
    rows.push_back({address_text(local), static_cast<std::uint16_t>(local_port),
                    (host.find(':') != std::string::npos ? "[" + host + "]" : host) + ":" +
                        std::to_string(remote_port),
                    static_cast<int>(state), timer == 3});
  }
}

}  // namespace

std::vector<TableRow> read_kernel_table() {
  std::vector<TableRow> rows;
  read_into("/proc/net/tcp", rows);
  read_into("/proc/net/tcp6", rows);
  return rows;
}

TablePorts ports_between(const std::vector<TableRow>& table, const std::string& source,
                         const std::string& destination) {
  TablePorts ports;
  for (const TableRow& row : table) {
    if (row.local_address != source || row.remote != destination) continue;
    (row.time_wait_timer ? ports.waiting : ports.used).insert(row.local_port);
  }
  return ports;
}

}  // namespace portpool::test
