#include "cli/launch.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <exception>

#include "base/error.h"
#include "base/text.h"
#include "cli/tell.h"

namespace portpool {

namespace fs = std::filesystem;

namespace {

fs::path found_library() {
  if (const char* named = std::getenv("PORTPOOL_LIBRARY")) return named;
  const fs::path program = fs::read_symlink("/proc/self/exe").parent_path();
  // As it is built, and as it is installed below any prefix.
  const fs::path candidates[] = {program / "../lib/libportpool.so",
                                 program / ".." / PORTPOOL_LIBRARY_FOLDER / "libportpool.so"};
  for (const fs::path& candidate : candidates) {
    std::error_code error;
    fs::path real = fs::canonical(candidate, error);
    if (!error) return real;
  }
  throw UserError(fmt::format(
      "libportpool.so is neither at {} nor at {}; install it (Debian: libportpool1), or name it "
      "with PORTPOOL_LIBRARY",
      candidates[0].lexically_normal().string(), candidates[1].lexically_normal().string()));
}

}  // namespace

fs::path find_library() {
  fs::path library = found_library();
  if (library.string().find_first_of(" :") != std::string::npos) {
    throw UserError(
        fmt::format("the dynamic linker takes blanks and colons in LD_PRELOAD for the end of a "
                    "path, and {} has one; move it, or name a link to it with PORTPOOL_LIBRARY",
                    for_terminal(library.string())));
  }
  return library;
}

namespace {

// Only root's command can become another user without a program that ignores LD_PRELOAD anyway.
bool command_may_change_user() { return geteuid() == 0; }

// Whether every user can go through this folder and those above it.
bool open_to_all(const fs::path& folder) {
  std::error_code error;
  for (fs::path part = fs::canonical(folder, error); !error; part = part.parent_path()) {
    if ((fs::status(part, error).permissions() & fs::perms::others_exec) == fs::perms::none) break;
    if (part == part.root_path()) return true;
  }
  return false;
}

std::vector<std::string> parents_of_private_folder() {
  const char* runtime = std::getenv("XDG_RUNTIME_DIR");
  std::vector<std::string> parents;
  if (runtime != nullptr && *runtime != '\0') parents.emplace_back(runtime);
  parents.emplace_back("/tmp");
  if (command_may_change_user()) std::stable_partition(parents.begin(), parents.end(), open_to_all);
  return parents;
}

}  // namespace

PrivateFolder::PrivateFolder() {
  for (const std::string& parent : parents_of_private_folder()) {
    std::string name = parent + "/portpool-XXXXXX";
    if (mkdtemp(name.data()) == nullptr) continue;
    path_ = name;
    // To be gone through by whom the command becomes, not to be listed.
    if (command_may_change_user()) (void)!chmod(path_.c_str(), 0711);
    return;
  }
  throw UserError(with_errno("cannot make a folder for the socket in /tmp"));
}

PrivateFolder::~PrivateFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

std::vector<std::string> shim_environment(const fs::path& library, const std::string& socket,
                                          const std::string& mode) {
  const char* preloaded = std::getenv("LD_PRELOAD");
  std::string preload = "LD_PRELOAD=" + library.string();
  if (preloaded != nullptr && *preloaded != '\0') preload += std::string(":") + preloaded;
  std::vector<std::string> variables = {preload, "PORTPOOL_SOCKET=" + socket};
  if (!mode.empty()) variables.push_back("PORTPOOL_MODE=" + mode);
  return variables;
}

Config private_config(const std::string& socket, const std::vector<std::string>& sources) {
  Config config = default_config();
  config.socket = socket;
  config.admits_descendants = command_may_change_user();
  for (const std::string& source : sources) {
    const auto problem = add_source(config.pools.back(), source);
    if (problem) throw UserError("--source: " + problem->text);
  }
  return config;
}

namespace {

void follow(EventLoop& loop, Child& child, const std::string& name) {
  std::vector<int> signals = Child::signals_to_forward();
  signals.push_back(SIGCHLD);
  loop.handle_signals(signals, [&loop, &child, name](const signalfd_siginfo& signal) {
    if (signal.ssi_signo != SIGCHLD) return child.forward(signal);
    const bool ended_before = child.command_ended();
    child.reap();
    if (!child.running()) return loop.stop();
    // With the command, as the shell expects of its job. The SIGCONT that ends it is passed on.
    if (child.command_suspended()) raise(SIGSTOP);
    if (child.command_ended() && !ended_before) {
      tell("portpool: {} went into the background; serving it until it ends\n", name);
    }
  });
}

}  // namespace

void run_to_end(EventLoop& loop, Child& child, const std::vector<std::string>& command,
                const std::vector<std::string>& environment) {
  follow(loop, child, command.front());
  child.start(command, environment);
  try {
    loop.run();
  } catch (const std::exception& error) {
    tell("portpool: {}; {} goes on without the pool\n", error.what(), command.front());
    child.reap();
    if (!child.running()) return;
    EventLoop rest;
    follow(rest, child, command.front());
    rest.run();
  }
}

}  // namespace portpool
