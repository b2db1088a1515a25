#include "cli/commands.h"
#include "portpool/handover.h"

namespace portpool {

void add_socket_option(CLI::App& command, std::string& socket) {
  socket = kDefaultSocket;
  command.add_option("--socket", socket, "The daemon's socket")
      ->envname("PORTPOOL_SOCKET")
      ->type_name("PATH")
      ->capture_default_str();
}

}  // namespace portpool
