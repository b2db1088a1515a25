// A systemd service as its files have it, in this system or in an image: systemd.unit(5) without
// systemd.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace portpool {

class UnitFile {
 public:
  // `name` with or without ".service". Throws UserError where it is none.
  UnitFile(std::filesystem::path root, const std::string& name);

  const std::string& name() const { return name_; }
  const std::filesystem::path& root() const { return root_; }
  bool exists() const { return found_; }
  // Ours.
  std::filesystem::path drop_in() const;

  // What the section [Service] says for a key, from all files but drop_in(), in systemd's order; an
  // empty assignment takes back those before it.
  std::vector<std::string> values(const std::string& key) const;
  // The last of them, or "".
  std::string value(const std::string& key) const;
  // A boolean's (systemd.syntax(7)).
  bool is_on(const std::string& key) const;

 private:
  std::vector<std::string> names() const;
  void read(const std::filesystem::path& file);

  std::filesystem::path root_;
  std::string name_;
  bool found_ = false;
  std::map<std::string, std::vector<std::string>> settings_;
};

}  // namespace portpool
