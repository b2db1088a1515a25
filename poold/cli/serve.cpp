#include <spdlog/spdlog.h>

#include <csignal>
#include <optional>

#include "base/error.h"
#include "cli/commands.h"
#include "daemon/daemon.h"
#include "daemon/log.h"
#include "daemon/process_setup.h"

namespace portpool {
namespace {

class Service {
 public:
  explicit Service(const ServeOptions& options) : options_(options) {}

  void run() {
    // Before the daemon is there: a signal that comes while it starts waits for the loop.
    loop_.handle_signals({SIGTERM, SIGINT, SIGHUP}, [this](const signalfd_siginfo& signal) {
      if (signal.ssi_signo == SIGHUP) return reload();
      loop_.stop();
    });
    start();
    loop_.run();
  }

 private:
  Config read_config(AbsentSources absent) const {
    Config config =
        options_.config.empty() ? default_config() : load_config(options_.config, absent);
    if (!options_.socket.empty()) config.socket = options_.socket;
    if (!options_.log_level.empty()) config.log_level = log_levels().at(options_.log_level);
    return config;
  }

  static void apply_to_log(const Config& config) {
    set_log_level(config.log_level);
    for (const std::string& warning : config.warnings) spdlog::warn("{}", warning);
  }

  void start() {
    const Config config = read_config(AbsentSources::error);
    apply_to_log(config);
    daemon_.emplace(loop_, config);
    spdlog::info("serving on {}", daemon_->socket_path());
  }

  void reload() {
    try {
      // Programs depend on the daemon by now: one address that is missing is no reason to keep all
      // other changes from them.
      const Config config = read_config(AbsentSources::warning);
      const bool all = daemon_->reload(config);
      apply_to_log(config);
      if (!all) {
        spdlog::warn("socket, socket_group, strategy and max_lanes take effect at the next start");
      }
      spdlog::info("configuration reloaded");
    } catch (const std::exception& error) {
      daemon_->reload_failed();
      spdlog::error("{}; the old configuration stays in force", error.what());
    }
  }

  const ServeOptions& options_;
  EventLoop loop_;
  std::optional<Daemon> daemon_;
};

}  // namespace

int serve_command(const ServeOptions& options) {
  prepare_to_serve();
  const DaemonLog log(LogLevel::info);
  Service(options).run();
  spdlog::info("ended");
  return 0;
}

}  // namespace portpool
