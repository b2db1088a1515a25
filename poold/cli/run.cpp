#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>

#include "cli/child.h"
#include "cli/commands.h"
#include "error.h"
#include "kernel/netns.h"
#include "serve/daemon.h"
#include "stats/report.h"
#include "stats/segment_reader.h"

namespace portpool {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string socket;
  std::string mode;
  std::string json;
  std::vector<std::string> command;
};

// build/<preset>/lib beside build/<preset>/bin, or the installed place.
fs::path find_library() {
  if (const char* named = std::getenv("PORTPOOL_LIBRARY")) return named;
  const fs::path program = fs::read_symlink("/proc/self/exe").parent_path();
  const fs::path candidates[] = {program / "../lib/libportpool.so", PORTPOOL_INSTALLED_LIBRARY};
  for (const fs::path& candidate : candidates) {
    std::error_code error;
    fs::path real = fs::canonical(candidate, error);
    if (!error) return real;
  }
  throw UserError(
      fmt::format("libportpool.so is neither in {} nor at {}; name it with PORTPOOL_LIBRARY",
                  (program / "../lib").lexically_normal().string(), PORTPOOL_INSTALLED_LIBRARY));
}

// The daemon that runs already, if this process may use it.
std::optional<SegmentReader> running_daemon(const std::string& socket) {
  try {
    SegmentReader reader(socket);
    const Report report = read_report(reader.view());
    const bool alive = !report.stopped && report.heartbeat_age_ms <= kHeartbeatStaleMs;
    if (alive && reader.view().network_namespace().same_as(kernel::current_network_namespace())) {
      return reader;
    }
  } catch (const UserError&) {
    // None, or not for us: a private one it is.
  }
  return std::nullopt;
}

// A directory of our own for the private daemon's socket.
class PrivateFolder {
 public:
  PrivateFolder() {
    const char* runtime = std::getenv("XDG_RUNTIME_DIR");
    for (const std::string& parent :
         {std::string(runtime != nullptr ? runtime : ""), std::string("/tmp")}) {
      if (parent.empty()) continue;
      std::string name = parent + "/portpool-XXXXXX";
      if (mkdtemp(name.data()) == nullptr) continue;
      path_ = name;
      return;
    }
    throw UserError(with_errno("cannot make a folder for the socket in /tmp"));
  }
  ~PrivateFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  PrivateFolder(const PrivateFolder&) = delete;
  PrivateFolder& operator=(const PrivateFolder&) = delete;

  std::string socket() const { return path_ / "poold.sock"; }

 private:
  fs::path path_;
};

std::vector<std::string> environment_for(const fs::path& library, const std::string& socket,
                                         const std::string& mode) {
  const char* preloaded = std::getenv("LD_PRELOAD");
  std::string preload = "LD_PRELOAD=" + library.string();
  if (preloaded != nullptr && *preloaded != '\0') preload += std::string(":") + preloaded;
  std::vector<std::string> variables = {preload, "PORTPOOL_SOCKET=" + socket};
  if (!mode.empty()) variables.push_back("PORTPOOL_MODE=" + mode);
  return variables;
}

void report_end(const Report& report, const Options& options) {
  fmt::print(stderr, "{}", report_summary(report));
  if (options.json.empty()) return;
  std::ofstream file(options.json);
  if (!(file << report_as_json(report) << "\n")) {
    fmt::print(stderr, "poold: cannot write {}\n", options.json);
  }
}

// Runs the loop until the command and everything it left behind have ended.
void run_to_end(EventLoop& loop, Child& child, const Options& options,
                const std::vector<std::string>& environment) {
  loop.handle_signals(
      {SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH},
      [&](const signalfd_siginfo& signal) {
        if (signal.ssi_signo != SIGCHLD) return child.forward(signal);
        const bool ended_before = child.command_ended();
        child.reap();
        if (!child.running()) return loop.stop();
        if (child.command_ended() && !ended_before) {
          fmt::print(stderr, "portpool: {} went into the background; serving it until it ends\n",
                     options.command.front());
        }
      });
  child.start(options.command, environment);
  loop.run();
}

int run(const Options& options) {
  const fs::path library = find_library();
  Child child;
  EventLoop loop;
  spdlog::set_level(spdlog::level::warn);
  if (const auto shared = running_daemon(options.socket)) {
    const Report before = read_report(shared->view());
    run_to_end(loop, child, options, environment_for(library, options.socket, options.mode));
    fmt::print(stderr, "portpool: used the running poold (pid {}); all its clients count\n",
               before.pid);
    report_end(read_report(shared->view()).since(before), options);
    return child.exit_status();
  }
  const PrivateFolder folder;
  Config config = default_config();
  config.socket = folder.socket();
  Daemon daemon(loop, config);
  run_to_end(loop, child, options, environment_for(library, config.socket, options.mode));
  report_end(read_report(daemon.view()), options);
  return child.exit_status();
}

}  // namespace

void add_run_command(CLI::App& program, int& status) {
  CLI::App* command = program.add_subcommand(
      "run", "Run a command under the shim, with a pool of its own or the running one");
  auto options = std::make_shared<Options>();
  add_socket_option(*command, options->socket);
  command->add_option("--mode", options->mode, "pool, or observe: record latency, change nothing")
      ->check(CLI::IsMember({"pool", "observe"}));
  command->add_option("--json", options->json, "Write the status to this file at the end")
      ->type_name("FILE");
  command->add_option("command", options->command, "The command, after --")
      ->required()
      ->type_name("");
  command->footer("Example: poold run -- nginx -g 'daemon off;'");
  command->callback([options, &status] {
    try {
      status = run(*options);
    } catch (const CannotStart& problem) {
      fmt::print(stderr, "poold: {}\n", problem.text);
      status = problem.status;
    }
  });
}

}  // namespace portpool
