// `poold enable` and `poold disable`: the drop-in that puts a systemd service under the library.
#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <system_error>
#include <vector>

#include "base/error.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/launch.h"
#include "cli/output_file.h"
#include "portpool/handover.h"

namespace portpool {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFirstLine = "# Written by poold enable; poold disable removes it.";
constexpr const char* kName = "50-portpool.conf";
// systemd.unit(5), those that administrators and packages write to.
constexpr const char* kUnitFolders[] = {"etc/systemd/system", "run/systemd/system",
                                        "usr/local/lib/systemd/system", "usr/lib/systemd/system",
                                        "lib/systemd/system"};

class Unit {
 public:
  Unit(fs::path root, const std::string& name) : root_(std::move(root)), name_(name) {
    if (!name_.ends_with(".service")) name_ += ".service";
    // systemd.unit(5): what a unit's name may have.
    if (name_.size() > 255 || name_.find_first_not_of("abcdefghijklmnopqrstuvwxyz"
                                                      "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                                      "0123456789:-_.\\@") != name_.npos) {
      throw UserError(fmt::format("\"{}\" is no name of a service", for_terminal(name)));
    }
  }

  const std::string& name() const { return name_; }
  fs::path drop_in() const { return root_ / kUnitFolders[0] / (name_ + ".d") / kName; }

  // Its files in all folders, drop-ins included but for ours. An instance ("x@1.service") also has
  // those of its template.
  std::vector<fs::path> files() const {
    std::vector<fs::path> found;
    for (const std::string& name : names()) {
      for (const char* folder : kUnitFolders) add_files(root_ / folder / name, found);
    }
    return found;
  }

 private:
  std::vector<std::string> names() const {
    const std::size_t at = name_.find('@');
    if (at == name_.npos) return {name_};
    return {name_, name_.substr(0, at + 1) + ".service"};
  }

  void add_files(const fs::path& unit, std::vector<fs::path>& found) const {
    std::error_code error;
    if (fs::exists(unit, error)) found.push_back(unit);
    for (const auto& entry : fs::directory_iterator(unit.string() + ".d", error)) {
      if (entry.path().extension() == ".conf" && entry.path() != drop_in()) {
        found.push_back(entry.path());
      }
    }
  }

  fs::path root_;
  std::string name_;
};

// What the unit preloads already: a later Environment= takes the place of an earlier one.
std::string preloaded_by(const Unit& unit) {
  std::string preloaded;
  for (const fs::path& file : unit.files()) {
    std::ifstream in(file);
    for (std::string line; std::getline(in, line);) {
      const std::size_t at = line.find("LD_PRELOAD=");
      if (!line.starts_with("Environment=") || at == line.npos) continue;
      const std::size_t begin = at + std::string_view("LD_PRELOAD=").size();
      const std::size_t end = line.find_first_of(" \t\"'", begin);
      const std::string value = line.substr(begin, end == line.npos ? end : end - begin);
      if (value.find("libportpool.so") == value.npos) preloaded = value;
    }
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
std::string assignment(const std::string& name, const std::string& value) {
  std::string quoted;
  for (const char c : value) {
    if (static_cast<unsigned char>(c) < ' ') {
      throw UserError(fmt::format("\"{}\" cannot be written into a unit", for_terminal(value)));
    }
    if (c == '"' || c == '\\') quoted += '\\';
    if (c == '%') quoted += '%';
    quoted += c;
  }
  return fmt::format("Environment=\"{}={}\"\n", name, quoted);
}

std::string content_of(const EnableOptions& options, const Unit& unit, bool group_is_there) {
  std::string preload = find_library().string();
  if (const std::string before = preloaded_by(unit); !before.empty()) preload += ":" + before;
  std::string text =
      fmt::format("{}\n[Service]\n{}", kFirstLine, assignment("LD_PRELOAD", preload));
  if (options.socket != kDefaultSocket) text += assignment("PORTPOOL_SOCKET", options.socket);
  if (!options.mode.empty()) text += assignment("PORTPOOL_MODE", options.mode);
  // An unknown group would keep the service from starting.
  if (group_is_there) text += fmt::format("SupplementaryGroups={}\n", options.group);
  return text;
}

bool is_ours(const fs::path& file) {
  std::ifstream in(file);
  std::string first;
  return std::getline(in, first) && first == kFirstLine;
}

void say_what_is_next(const Unit& unit) {
  fmt::print("now: systemctl daemon-reload && systemctl restart {}\n", unit.name());
}

}  // namespace

int enable_command(const EnableOptions& options) {
  const Unit unit(options.root, options.unit);
  if (unit.files().empty()) {
    throw UserError(
        fmt::format("there is no {} here; systemctl list-unit-files --type=service "
                    "lists what there is",
                    unit.name()));
  }
  const fs::path file = unit.drop_in();
  if (fs::exists(file) && !is_ours(file)) {
    throw UserError(fmt::format("{} is not of poold enable; remove or rename it", file.string()));
  }
  const bool group_is_there = has_group(options.root, options.group);
  const std::string content = content_of(options, unit, group_is_there);
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
  say_what_is_next(unit);
  return 0;
}

int disable_command(const EnableOptions& options) {
  const Unit unit(options.root, options.unit);
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
