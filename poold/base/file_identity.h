// Which file it is, whatever its name: names can lead to another file a moment later.
#pragma once

#include <sys/stat.h>

#include <optional>
#include <string>

namespace portpool {

// Stays the file's own for as long as somebody has it open, or a socket is bound to it: then its
// inode cannot be given to another one.
struct FileIdentity {
  dev_t device = 0;
  ino_t inode = 0;

  bool operator==(const FileIdentity&) const = default;
};

inline FileIdentity identity_of(const struct stat& status) {
  return {status.st_dev, status.st_ino};
}

// Of the file at `path`, a symbolic link itself; nullopt with errno set: it cannot be looked at.
inline std::optional<FileIdentity> identity_at(const std::string& path) {
  struct stat status;
  if (lstat(path.c_str(), &status) != 0) return std::nullopt;
  return identity_of(status);
}

// Of an open file. Of a UNIX socket this is not the file that it is bound to.
inline std::optional<FileIdentity> identity_of(int fd) {
  struct stat status;
  if (fstat(fd, &status) != 0) return std::nullopt;
  return identity_of(status);
}

}  // namespace portpool
