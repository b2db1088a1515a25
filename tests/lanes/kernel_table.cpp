#include "lanes/kernel_table.h"

#include <sstream>
#include <stdexcept>

#include "support/process.h"

namespace portpool::test {

KernelPorts kernel_ports(const std::string& source, const std::string& destination) {
  Process ss({"ss", "-4tanH"});
  if (ss.wait() != 0) throw std::runtime_error("ss: " + ss.err());
  KernelPorts ports;
  std::istringstream lines(ss.out());
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
