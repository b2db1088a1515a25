// A directory under /tmp that goes away with everything in it.
#pragma once

#include <string>

namespace portpool::test {

class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }
  // The path of `name` inside.
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  // Writes `content` to the file `name`, and returns its path.
  std::string write(const std::string& name, const std::string& content) const;

 private:
  std::string path_;
};

std::string read_whole_file(const std::string& path);

}  // namespace portpool::test
