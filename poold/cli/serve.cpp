#include <spdlog/spdlog.h>

#include <csignal>
#include <optional>

#include "base/error.h"
#include "cli/commands.h"
#include "daemon/daemon.h"

namespace portpool {
namespace {

Config read_config(const ServeOptions& options, AbsentSources absent) {
  Config config = options.config.empty() ? default_config() : load_config(options.config, absent);
  if (!options.socket.empty()) config.socket = options.socket;
  for (const std::string& warning : config.warnings) spdlog::warn("{}", warning);
  return config;
}

void reload(Daemon& daemon, const ServeOptions& options) {
  try {
    // Programs depend on the daemon by now: one address that is missing is no reason to keep all
    // other changes from them.
    if (!daemon.reload(read_config(options, AbsentSources::warning))) {
      spdlog::warn("socket, socket_group, strategy and max_lanes take effect at the next start");
    }
    spdlog::info("configuration reloaded");
  } catch (const UserError& error) {
    daemon.reload_failed();
    spdlog::error("{}; the old configuration stays in force", error.what());
  }
}

}  // namespace

int serve_command(const ServeOptions& options) {
  EventLoop loop;
  std::optional<Daemon> daemon;
  // Before the daemon is there: a signal that comes while it starts waits for the loop.
  loop.handle_signals({SIGTERM, SIGINT, SIGHUP}, [&](const signalfd_siginfo& signal) {
    if (signal.ssi_signo != SIGHUP) return loop.stop();
    reload(*daemon, options);
  });
  daemon.emplace(loop, read_config(options, AbsentSources::error));
  spdlog::info("serving on {}", daemon->socket_path());
  loop.run();
  spdlog::info("ended");
  return 0;
}

}  // namespace portpool
