#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "base/error.h"
#include "cli/commands.h"
#include "daemon/daemon.h"
#include "daemon/log.h"
#include "daemon/process_setup.h"
#include "daemon/service_manager.h"
#include "daemon/succession.h"

namespace portpool {
namespace {

// Where a socket of the service manager's listens.
std::string path_of(int listener) {
  sockaddr_un address{};
  socklen_t length = sizeof address;
  getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length);
  if (length <= offsetof(sockaddr_un, sun_path) || address.sun_path[0] == '\0') {
    throw UserError(
        "the service manager's socket has no path; give the socket unit one, such as "
        "ListenStream=/run/portpool/poold.sock");
  }
  return {address.sun_path, strnlen(address.sun_path, length - offsetof(sockaddr_un, sun_path))};
}

class Service {
 public:
  Service(const ServeOptions& options, ServiceManager& manager)
      : options_(options), manager_(manager), succession_(loop_, manager) {}

  void run() {
    // Before the daemon is there: a signal that comes while it starts waits for the loop.
    loop_.handle_signals({SIGTERM, SIGINT, SIGHUP, SIGUSR2}, [this](const auto& signal) {
      if (signal.ssi_signo == SIGHUP) return reload_soon();
      if (signal.ssi_signo == SIGUSR2) return succession_.start_successor(*daemon_);
      if (signal.ssi_signo == SIGTERM) succession_.ending(*daemon_);
      manager_.stopping("ending");
      loop_.stop();
    });
    start();
    if (const auto interval = manager_.watchdog_interval()) {
      // From the loop itself: one that hangs says nothing.
      loop_.repeat_timer(loop_.add_timer([this] { manager_.watchdog(); }), *interval);
    }
    manager_.ready("serving on " + daemon_->socket_path());
    loop_.run();
  }

 private:
  Config read_config(AbsentSources absent) const {
    Config config =
        options_.config.empty() ? default_config() : load_config(options_.config, absent);
    if (!options_.socket.empty()) config.socket = options_.socket;
    if (!activated_path_.empty()) config.socket = activated_path_;
    if (!options_.log_level.empty()) config.log_level = log_levels().at(options_.log_level);
    return config;
  }

  static void apply_to_log(const Config& config) {
    set_log_level(config.log_level);
    for (const auto* warnings : {&config.absent_sources, &config.idle_rules}) {
      for (const std::string& warning : *warnings) spdlog::warn("{}", warning);
    }
  }

  void start() {
    std::optional<ActivatedDescriptor> listener = manager_.take_listener();
    if (listener) activated_path_ = path_of(listener->descriptor.get());
    const Config config = read_config(AbsentSources::error);
    apply_to_log(config);
    Inheritance inheritance = succession_.find_inheritance(config, options_.take_over);
    if (listener) inheritance.listener = std::move(listener->descriptor);
    daemon_.emplace(loop_, config, std::move(inheritance));
    succession_.begun(*daemon_);
    for (const ActivatedDescriptor& left : manager_.rest()) {
      spdlog::warn("the service manager's descriptor \"{}\" is of no use here", left.name);
    }
    manager_.close_rest();
    spdlog::info("serving on {}{}", daemon_->socket_path(),
                 listener ? ", a socket of the service manager's" : "");
  }

  // Each reload has programs ask for every lane anew: however many signals come, there are few.
  void reload_soon() {
    const auto now = Clock::now();
    if (now < next_reload_) return loop_.set_timer(reload_timer_, next_reload_ - now);
    next_reload_ = now + kReloadPause;
    reload();
  }

  void reload() {
    manager_.reloading();
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
      manager_.ready("serving on " + daemon_->socket_path());
    } catch (const std::exception& error) {
      daemon_->reload_failed();
      spdlog::error("{}; the old configuration stays in force", error.what());
      manager_.ready("serving with the old configuration: the new one has an error, see the log");
    }
  }

  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kReloadPause{250};

  const ServeOptions& options_;
  ServiceManager& manager_;
  std::string activated_path_;  // empty: the socket is made here
  EventLoop loop_;
  int reload_timer_ = loop_.add_timer([this] { reload_soon(); });
  Clock::time_point next_reload_;
  Succession succession_;
  std::optional<Daemon> daemon_;
};

}  // namespace

int serve_command(const ServeOptions& options) {
  ServiceManager manager = ServiceManager::from_environment();
  prepare_to_serve();
  const DaemonLog log(LogLevel::info);
  Service(options, manager).run();
  spdlog::info("ended");
  return 0;
}

}  // namespace portpool
