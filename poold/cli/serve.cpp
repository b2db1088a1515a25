#include <spdlog/spdlog.h>

#include <csignal>
#include <memory>
#include <optional>

#include "cli/commands.h"
#include "error.h"
#include "serve/daemon.h"

namespace portpool {
namespace {

struct Options {
  std::string config;
  std::string socket;
};

Config read_config(const Options& options) {
  Config config = options.config.empty() ? default_config() : load_config(options.config);
  if (!options.socket.empty()) config.socket = options.socket;
  return config;
}

void reload(Daemon& daemon, const Options& options) {
  try {
    if (!daemon.reload(read_config(options))) {
      spdlog::warn("socket, socket_group, strategy and max_lanes take effect at the next start");
    }
    spdlog::info("configuration reloaded");
  } catch (const UserError& error) {
    spdlog::error("{}; the old configuration stays in force", error.what());
  }
}

int serve(const Options& options) {
  EventLoop loop;
  std::optional<Daemon> daemon;
  // Before the daemon is there: a signal that comes while it starts waits for the loop.
  loop.handle_signals({SIGTERM, SIGINT, SIGHUP}, [&](const signalfd_siginfo& signal) {
    if (signal.ssi_signo != SIGHUP) return loop.stop();
    reload(*daemon, options);
  });
  daemon.emplace(loop, read_config(options));
  spdlog::info("serving on {}", daemon->socket_path());
  loop.run();
  spdlog::info("ended");
  return 0;
}

}  // namespace

void add_serve_command(CLI::App& program, int& status) {
  CLI::App* command = program.add_subcommand("serve", "Run the daemon in the foreground");
  auto options = std::make_shared<Options>();
  command
      ->add_option("--config", options->config, "Configuration file (TOML); SIGHUP reads it again")
      ->type_name("FILE");
  command
      ->add_option("--socket", options->socket,
                   "Listen here instead of where the configuration says")
      ->envname("PORTPOOL_SOCKET")
      ->type_name("PATH");
  command->callback([options, &status] { status = serve(*options); });
}

}  // namespace portpool
