// `poold enable` and `poold disable`: the drop-in that puts a systemd service under the library.
#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>
#include <vector>

#include "base/error.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/launch.h"
#include "cli/output_file.h"
#include "cli/unit_file.h"
#include "cli/unit_sandbox.h"
#include "portpool/handover.h"

namespace portpool {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFirstLine = "# Written by poold enable; poold disable removes it.";

// What the unit preloads already: a later Environment= takes the place of an earlier one.
std::string preloaded_by(const UnitFile& unit) {
  std::string preloaded;
  for (const std::string& line : unit.values("Environment")) {
    const std::size_t at = line.find("LD_PRELOAD=");
    if (at == line.npos) continue;
    const std::size_t begin = at + std::string_view("LD_PRELOAD=").size();
    const std::string value = line.substr(begin, line.find_first_of(" \t\"'", begin) - begin);
    if (value.find("libportpool.so") == value.npos) preloaded = value;
  }
  return preloaded;
}

bool has_group(const fs::path& root, const std::string& group) {
  std::ifstream in(root / "etc/group");
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with(group + ":")) return true;
  }
  return false;
}

// In quotes, with nothing that systemd would make something else of (systemd.exec(5),
// Environment=).
std::string quoted(const std::string& value) {
  std::string text = "\"";
  for (const char c : value) {
    if (static_cast<unsigned char>(c) < ' ') {
      throw UserError(fmt::format("\"{}\" cannot be written into a unit", for_terminal(value)));
    }
    if (c == '"' || c == '\\') text += '\\';
    if (c == '%') text += '%';
    text += c;
  }
  return text + '"';
}

std::string assignment(const std::string& name, const std::string& value) {
  return fmt::format("Environment={}\n", quoted(name + '=' + value));
}

// Where the library comes from, and the socket. The folder, since poold makes its socket anew.
std::vector<std::string> needed_paths(const EnableOptions& options, const std::string& library) {
  return {library, fs::path(options.socket).parent_path().string()};
}

std::string content_of(const EnableOptions& options, const UnitFile& unit,
                       const std::string& library, bool group_is_there) {
  std::string preload = library;
  if (const std::string before = preloaded_by(unit); !before.empty()) preload += ":" + before;
  std::string text =
      fmt::format("{}\n[Service]\n{}", kFirstLine, assignment("LD_PRELOAD", preload));
  if (options.socket != kDefaultSocket) text += assignment("PORTPOOL_SOCKET", options.socket);
  if (!options.mode.empty()) text += assignment("PORTPOOL_MODE", options.mode);
  // An unknown group would keep the service from starting.
  if (group_is_there) text += fmt::format("SupplementaryGroups={}\n", options.group);
  // With "-": what is missing there does not keep the service from starting.
  for (const std::string& path : hidden_from(unit, needed_paths(options, library))) {
    text += fmt::format("BindReadOnlyPaths={}\n", quoted("-" + path));
  }
  return text;
}

bool is_ours(const fs::path& file) {
  std::ifstream in(file);
  std::string first;
  return std::getline(in, first) && first == kFirstLine;
}

void say_what_is_next(const UnitFile& unit) {
  fmt::print("now: systemctl daemon-reload && systemctl restart {}\n", unit.name());
}

}  // namespace

int enable_command(const EnableOptions& options) {
  const UnitFile unit(options.root, options.unit);
  if (!unit.exists()) {
    throw UserError(
        fmt::format("there is no {} here; systemctl list-unit-files --type=service "
                    "lists what there is",
                    unit.name()));
  }
  const fs::path file = unit.drop_in();
  if (fs::exists(file) && !is_ours(file)) {
    throw UserError(fmt::format("{} is not of poold enable; remove or rename it", file.string()));
  }
  // The default socket's poold is in this one.
  if (const std::string setting = own_network(unit);
      !setting.empty() && options.socket == kDefaultSocket) {
    throw UserError(
        fmt::format("{} has a network namespace of its own ({}): its ports are others than those "
                    "that poold hands out here; run a poold in that namespace, and name its socket "
                    "with --socket",
                    unit.name(), for_terminal(setting)));
  }
  const std::string library = find_library().string();
  const bool group_is_there = has_group(options.root, options.group);
  const std::string content = content_of(options, unit, library, group_is_there);
  std::error_code error;
  fs::create_directories(file.parent_path(), error);
  if (error) {
    throw UserError(
        fmt::format("cannot make {}: {}", file.parent_path().string(), error.message()));
  }
  OutputFile(file.string()).write(content);
  fmt::print("wrote {}\n", file.string());
  if (!group_is_there) {
    fmt::print(
        "there is no group {}: {} can attach only if it starts as root, or as the user of "
        "poold\n",
        options.group, unit.name());
  }
  for (const std::string& obstacle : obstacles(unit, needed_paths(options, library))) {
    fmt::print("{}: {}\n", unit.name(), for_terminal(obstacle));
  }
  say_what_is_next(unit);
  return 0;
}

int disable_command(const EnableOptions& options) {
  const UnitFile unit(options.root, options.unit);
  const fs::path file = unit.drop_in();
  std::error_code error;
  if (!fs::exists(file, error)) {
    fmt::print("{} is not enabled: there is no {}\n", unit.name(), file.string());
    return 0;
  }
  if (!is_ours(file)) {
    throw UserError(fmt::format("{} is not of poold enable; look at it yourself", file.string()));
  }
  if (!fs::remove(file, error)) {
    throw UserError(fmt::format("cannot remove {}: {}", file.string(), error.message()));
  }
  fs::remove(file.parent_path(), error);  // where nothing else is in it
  fmt::print("removed {}\n", file.string());
  say_what_is_next(unit);
  return 0;
}

}  // namespace portpool
