#include "cli/unit_sandbox.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <string_view>

#include "base/text.h"

namespace portpool {
namespace {

bool is_below(const std::string& path, std::string folder) {
  if (!folder.ends_with('/')) folder += '/';
  return (path + '/').starts_with(folder);
}

bool is_below_one_of(const std::string& path, const std::vector<std::string>& folders) {
  return std::any_of(folders.begin(), folders.end(),
                     [&](const std::string& folder) { return is_below(path, folder); });
}

// Lists in one assignment, or in several.
std::vector<std::string> words(const UnitFile& unit, const char* key) {
  std::vector<std::string> all;
  for (const std::string& value : unit.values(key)) {
    for (const std::string_view word : words_of(value)) all.emplace_back(word);
  }
  return all;
}

// "-/path:options" and its like.
std::vector<std::string> paths_of(const UnitFile& unit, const char* key) {
  std::vector<std::string> paths = words(unit, key);
  for (std::string& path : paths) {
    path = path.substr(0, path.find(':'));
    path.erase(0, std::min(path.find('/'), path.size()));
  }
  std::erase(paths, "");
  return paths;
}

std::vector<std::string> homes() { return {"/home", "/root", "/run/user"}; }

// Another file system in the place of the system's, into which something can be mounted.
bool is_replaced(const UnitFile& unit, const std::string& path) {
  for (const char* root : {"RootDirectory", "RootImage", "RootMStack"}) {
    if (!unit.value(root).empty() && unit.value(root) != "/") return true;
  }
  const std::string own_tmp = unit.value("PrivateTmp");
  if ((unit.is_on("PrivateTmp") || own_tmp == "disconnected") &&
      is_below_one_of(path, {"/tmp", "/var/tmp"})) {
    return true;
  }
  if (unit.value("ProtectHome") == "tmpfs" && is_below_one_of(path, homes())) return true;
  return is_below_one_of(path, paths_of(unit, "TemporaryFileSystem"));
}

// Which setting closes the way to it, whatever is mounted there; or "".
std::string closed_by(const UnitFile& unit, const std::string& path) {
  if (unit.is_on("ProtectHome") && is_below_one_of(path, homes())) return "ProtectHome";
  for (const char* key : {"InaccessiblePaths", "InaccessibleDirectories"}) {
    if (is_below_one_of(path, paths_of(unit, key))) return key;
  }
  return "";
}

bool may_use_unix_sockets(const UnitFile& unit) {
  const std::vector<std::string> families = words(unit, "RestrictAddressFamilies");
  if (families.empty()) return true;
  const bool excludes = families[0].starts_with('~');
  const bool named = std::any_of(families.begin(), families.end(), [](std::string_view family) {
    return family == "AF_UNIX" || family == "~AF_UNIX";
  });
  return named != excludes;
}

// "-/path", or without "-".
bool sets_preload(const UnitFile& unit, const std::string& file) {
  std::ifstream in(unit.root() / file.substr(std::min(file.find('/') + 1, file.size())));
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("LD_PRELOAD=")) return true;
  }
  return false;
}

}  // namespace

std::vector<std::string> hidden_from(const UnitFile& unit, const std::vector<std::string>& paths) {
  std::vector<std::string> hidden;
  for (const std::string& path : paths) {
    if (is_replaced(unit, path) && closed_by(unit, path).empty()) hidden.push_back(path);
  }
  return hidden;
}

std::string own_network(const UnitFile& unit) {
  if (unit.is_on("PrivateNetwork")) return "PrivateNetwork=yes";
  const std::string path = unit.value("NetworkNamespacePath");
  return path.empty() ? "" : "NetworkNamespacePath=" + path;
}

std::vector<std::string> obstacles(const UnitFile& unit, const std::vector<std::string>& paths) {
  std::vector<std::string> found;
  for (const std::string& path : paths) {
    const std::string key = closed_by(unit, path);
    if (key.empty()) continue;
    found.push_back(fmt::format(
        "{}= hides {} from it; nothing can be mounted there: use another place", key, path));
  }
  if (!may_use_unix_sockets(unit)) {
    found.emplace_back(
        "RestrictAddressFamilies= keeps it from poold's socket: it stays on the kernel's path "
        "unless AF_UNIX is among them");
  }
  const std::vector<std::string> unset = words(unit, "UnsetEnvironment");
  if (std::any_of(unset.begin(), unset.end(),
                  [](std::string_view word) { return word.starts_with("LD_PRELOAD"); })) {
    found.emplace_back(
        "UnsetEnvironment= takes LD_PRELOAD away again: it starts without the library");
  }
  for (const std::string& file : unit.values("EnvironmentFile")) {
    if (!sets_preload(unit, file)) continue;
    found.push_back(fmt::format(
        "{} sets LD_PRELOAD, which counts more than a drop-in: put the library there", file));
  }
  return found;
}

}  // namespace portpool
