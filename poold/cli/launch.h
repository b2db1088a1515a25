// A command under the shim: with which library and environment, and until when.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "cli/child.h"
#include "daemon/config.h"
#include "daemon/event_loop.h"

namespace portpool {

// libportpool.so: in build/<preset>/lib beside build/<preset>/bin, or the installed place, or where
// PORTPOOL_LIBRARY says. Throws UserError.
std::filesystem::path find_library();

// A directory of our own for the private daemon's socket: in XDG_RUNTIME_DIR, or in /tmp. For root,
// whose command may become another user: in the first of them that every user can go through, and
// with a mode (0711) that lets them through to the socket.
class PrivateFolder {
 public:
  PrivateFolder();
  ~PrivateFolder();
  PrivateFolder(const PrivateFolder&) = delete;
  PrivateFolder& operator=(const PrivateFolder&) = delete;

  std::string socket() const { return path_ / "poold.sock"; }

 private:
  std::filesystem::path path_;
};

// mode: PORTPOOL_MODE, or empty.
std::vector<std::string> shim_environment(const std::filesystem::path& library,
                                          const std::string& socket, const std::string& mode);

// The configuration of a private daemon. `sources`: those of the one pool, as the configuration
// file has them. Throws UserError.
Config private_config(const std::string& socket, const std::vector<std::string>& sources);

// Runs the loop until the command and everything it left behind have ended. When something in the
// loop throws, the loop is given up, and with it the daemon: the programs take the kernel's path,
// as soon as the heartbeat is old, and what they end with is waited for all the same. Throws
// CannotStart.
void run_to_end(EventLoop& loop, Child& child, const std::vector<std::string>& command,
                const std::vector<std::string>& environment);

}  // namespace portpool
