#include "cli/unit_file.h"

#include <fmt/format.h>

#include <fstream>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "base/text.h"

namespace portpool {
namespace {

namespace fs = std::filesystem;

constexpr const char* kName = "50-portpool.conf";
// systemd.unit(5), those that administrators and packages write to, the first one with a file wins.
constexpr const char* kUnitFolders[] = {"etc/systemd/system", "run/systemd/system",
                                        "usr/local/lib/systemd/system", "usr/lib/systemd/system",
                                        "lib/systemd/system"};

std::string bare(std::string_view text) { return std::string(trimmed(text, " \t\r")); }

// With what a backslash continues.
bool next_line(std::istream& in, std::string& line) {
  line.clear();
  for (std::string part; std::getline(in, part);) {
    const bool is_comment = part.starts_with('#') || part.starts_with(';');
    if (is_comment && !line.empty()) continue;
    if (is_comment || !part.ends_with('\\')) {
      line += part;
      return true;
    }
    part.back() = ' ';
    line += part;
  }
  return !line.empty();
}

}  // namespace

UnitFile::UnitFile(fs::path root, const std::string& name) : root_(std::move(root)), name_(name) {
  if (!name_.ends_with(".service")) name_ += ".service";
  // systemd.unit(5): what a unit's name may have.
  if (name_.size() > 255 || name_.find_first_not_of("abcdefghijklmnopqrstuvwxyz"
                                                    "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                                    "0123456789:-_.\\@") != name_.npos) {
    throw UserError(fmt::format("\"{}\" is no name of a service", for_terminal(name)));
  }
  std::error_code error;
  std::map<std::string, fs::path> drop_ins;  // by name, which is their order
  for (const std::string& one : names()) {
    for (const char* folder : kUnitFolders) {
      const fs::path unit = root_ / folder / one;
      if (fs::exists(unit, error) && !std::exchange(found_, true)) read(unit);
      for (const auto& entry : fs::directory_iterator(unit.string() + ".d", error)) {
        const fs::path& file = entry.path();
        if (file.extension() == ".conf" && file != drop_in()) {
          drop_ins.emplace(file.filename(), file);
          found_ = true;
        }
      }
    }
  }
  for (const auto& [unused, file] : drop_ins) read(file);
}

fs::path UnitFile::drop_in() const { return root_ / kUnitFolders[0] / (name_ + ".d") / kName; }

// An instance ("x@1.service") also has the files of its template.
std::vector<std::string> UnitFile::names() const {
  const std::size_t at = name_.find('@');
  if (at == name_.npos) return {name_};
  return {name_, name_.substr(0, at + 1) + ".service"};
}

void UnitFile::read(const fs::path& file) {
  std::ifstream in(file);
  bool in_service = false;
  for (std::string line; next_line(in, line);) {
    line = bare(line);
    const std::size_t equals = line.find('=');
    if (line.starts_with('[')) {
      in_service = line == "[Service]";
    } else if (in_service && equals != line.npos && line[0] != '#' && line[0] != ';') {
      auto& values = settings_[bare(line.substr(0, equals))];
      std::string value = bare(line.substr(equals + 1));
      if (value.empty()) {
        values.clear();
      } else {
        values.push_back(std::move(value));
      }
    }
  }
}

std::vector<std::string> UnitFile::values(const std::string& key) const {
  const auto found = settings_.find(key);
  return found == settings_.end() ? std::vector<std::string>() : found->second;
}

std::string UnitFile::value(const std::string& key) const {
  const auto all = values(key);
  return all.empty() ? "" : all.back();
}

bool UnitFile::is_on(const std::string& key) const {
  const std::string said = value(key);
  return said == "yes" || said == "true" || said == "on" || said == "1" || said == "y" ||
         said == "t";
}

}  // namespace portpool
