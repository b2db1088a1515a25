// A file that one process at a time holds locked (flock(2)). The lock belongs to the descriptor, so
// that a successor that is handed it holds the lock without a gap.
#pragma once

#include <optional>
#include <string>

#include "base/descriptor.h"

namespace portpool {

class LockFile {
 public:
  // Makes the file where it is missing (mode 0600), and locks it. nullopt: another process holds
  // it. UserError: it cannot be opened, is no regular file, or its file system cannot lock.
  static std::optional<LockFile> try_lock(const std::string& path);
  // `locked`: of a predecessor that had the lock by try_lock(path).
  static LockFile take_over(std::string path, Descriptor locked);

  // Gives the lock up and leaves the file, as the end of a process does.
  ~LockFile() = default;
  LockFile(LockFile&&) noexcept = default;
  LockFile& operator=(LockFile&&) noexcept = default;
  LockFile(const LockFile&) = delete;
  LockFile& operator=(const LockFile&) = delete;

  // Whether the path still leads to the file that is locked. False: others can lock what is there
  // now.
  bool is_in_place() const;
  // Removes the file, if it is in place, and gives the lock up.
  void remove();

  const std::string& path() const { return path_; }
  int fd() const { return locked_.get(); }
  // The descriptor, which keeps the lock.
  Descriptor release() && { return std::move(locked_); }

 private:
  LockFile(std::string path, Descriptor locked)
      : path_(std::move(path)), locked_(std::move(locked)) {}

  std::string path_;
  Descriptor locked_;
};

}  // namespace portpool
