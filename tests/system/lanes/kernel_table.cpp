#include "system/lanes/kernel_table.h"

#include <sstream>
#include <stdexcept>

#include "support/process.h"

namespace portpool::test {

namespace {

std::string list_sockets(const char* options) {
  Process ss({"ss", options});
  if (ss.wait() != 0) throw std::runtime_error("ss: " + ss.err());
  return ss.out();
}

}  // namespace

std::string kernel_table() { return list_sockets("-4tanp"); }

KernelPorts kernel_ports(const std::string& source, const std::string& destination) {
  KernelPorts ports;
  std::istringstream lines(list_sockets("-4tanH"));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string state, received, sent, local, peer;
    words >> state >> received >> sent >> local >> peer;
    if (peer != destination || !local.starts_with(source + ":")) continue;
    ++(state == "TIME-WAIT" || state == "FIN-WAIT-2" ? ports.waiting : ports.active);
  }
  return ports;
}

}  // namespace portpool::test
