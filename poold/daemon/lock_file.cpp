#include "daemon/lock_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/file_identity.h"

namespace portpool {
namespace {

// The file may be removed, and made anew, by others that end and begin at the same time.
constexpr int kTries = 100;

constexpr int kFlags = O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;

// With O_CREAT the kernel refuses to open a file of another user in a sticky folder, to root too
// (fs.protected_regular, proc_sys_fs(5)): asked for only where there is none.
Descriptor open_or_make(const std::string& path) {
  for (int left = kTries; left > 0; --left) {
    Descriptor file(::open(path.c_str(), kFlags));
    if (file || errno != ENOENT) return file;
    file = Descriptor(::open(path.c_str(), kFlags | O_CREAT | O_EXCL, 0600));
    if (file || errno != EEXIST) return file;
  }
  return {};
}

[[noreturn]] void cannot_open(const std::string& path) {
  const int error = errno;
  struct stat status;
  const bool is_there = lstat(path.c_str(), &status) == 0;
  if (is_there && (error == EACCES || error == EPERM)) {
    throw UserError(
        fmt::format("cannot open the lock file {}, which belongs to uid {}: {}; remove it if no "
                    "poold of that user is running, or choose another path with --socket",
                    path, status.st_uid, std::strerror(error)));
  }
  if (is_there && (error == ELOOP || error == EISDIR || error == ENXIO)) {
    throw UserError(fmt::format(
        "{} is to be a lock file but is not a regular file; remove it, or choose another path "
        "with --socket",
        path));
  }
  const bool is_folders_fault =
      error == EACCES || error == EPERM || error == EROFS || error == ENOENT || error == ENOTDIR;
  throw UserError(fmt::format(
      "cannot create {}: {}{}", path, std::strerror(error),
      is_folders_fault
          ? "; choose another path with --socket, in a directory in which poold may make files"
          : ""));
}

void require_regular(int fd, const std::string& path) {
  struct stat status;
  if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode)) return;
  errno = ENXIO;
  cannot_open(path);
}

// False: another process has it.
bool lock(int fd, const std::string& path) {
  while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno == EWOULDBLOCK) return false;
    throw UserError(
        fmt::format("cannot lock {}: {}; its file system cannot lock files: choose a path on "
                    "another one, such as /run, with --socket",
                    path, std::strerror(errno)));
  }
  return true;
}

}  // namespace

std::optional<LockFile> LockFile::try_lock(const std::string& path) {
  for (int left = kTries; left > 0; --left) {
    Descriptor file = open_or_make(path);
    if (!file) cannot_open(path);
    require_regular(file.get(), path);
    if (!lock(file.get(), path)) return std::nullopt;
    // Whoever had it before may have removed it on leaving, after it was opened here: then the next
    // one that comes would make and lock another file.
    LockFile locked(path, std::move(file));
    if (locked.is_in_place()) return locked;
  }
  throw UserError(fmt::format("cannot lock {}: others make and remove it all the time", path));
}

LockFile LockFile::take_over(std::string path, Descriptor locked) {
  return {std::move(path), std::move(locked)};
}

bool LockFile::is_in_place() const {
  const auto here = identity_at(path_);
  return here && here == identity_of(locked_.get());
}

void LockFile::remove() {
  if (!locked_) return;
  // Under the lock: nobody else may put another file there meanwhile and believe it locked.
  if (is_in_place()) unlink(path_.c_str());
  locked_ = Descriptor();
}

}  // namespace portpool
