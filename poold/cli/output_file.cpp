#include "cli/output_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string_view>

#include "base/error.h"

namespace portpool {
namespace {

namespace fs = std::filesystem;

// The descriptor that such a path means. Opened by its path, a file would be written from its
// beginning again, over what the command has put there; and a socket could not be opened at all.
std::optional<int> inherited_descriptor(std::string_view path) {
  if (path == "/dev/stdout") return STDOUT_FILENO;
  if (path == "/dev/stderr") return STDERR_FILENO;
  for (const std::string_view folder : {"/dev/fd/", "/proc/self/fd/"}) {
    if (!path.starts_with(folder)) continue;
    const std::string number(path.substr(folder.size()));
    char* end = nullptr;
    const long value = std::strtol(number.c_str(), &end, 10);
    if (!number.empty() && *end == '\0' && value >= 0 && value <= 1'000'000) {
      return static_cast<int>(value);
    }
  }
  return std::nullopt;
}

// A second descriptor for it. Nothing, with errno, when it is not open for writing.
Descriptor duplicate_for_writing(int fd) {
  const int flags = fcntl(fd, F_GETFL);
  if (flags >= 0 && (flags & O_ACCMODE) == O_RDONLY) errno = EBADF;
  if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY) return {};
  return Descriptor(fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

// False, with errno, when not everything could be written.
bool write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t part = ::write(fd, text.data(), text.size());
    if (part < 0 && errno == EINTR) continue;
    if (part < 0) return false;
    text.remove_prefix(static_cast<std::size_t>(part));
  }
  return true;
}

// A file without a name yet that is to be seen: it goes unless it was renamed.
class Successor {
 public:
  explicit Successor(const fs::path& target)
      : name_((target.parent_path() / fmt::format(".{}.XXXXXX", target.filename().string()))
                  .string()),
        file_(mkostemp(name_.data(), O_CLOEXEC)) {}
  ~Successor() {
    if (file_ && !renamed_) unlink(name_.c_str());
  }
  Successor(const Successor&) = delete;
  Successor& operator=(const Successor&) = delete;

  explicit operator bool() const { return static_cast<bool>(file_); }
  int fd() const { return file_.get(); }
  bool take_place_of(const fs::path& target) {
    renamed_ = rename(name_.c_str(), target.c_str()) == 0;
    return renamed_;
  }

 private:
  std::string name_;
  Descriptor file_;
  bool renamed_ = false;
};

}  // namespace

OutputFile::OutputFile(std::string path) : path_(std::move(path)) {
  if (path_.empty()) return;
  constexpr int kFlags = O_WRONLY | O_CLOEXEC | O_NOCTTY;
  if (const auto fd = inherited_descriptor(path_)) {
    inherited_ = true;
    file_ = duplicate_for_writing(*fd);
  } else {
    file_ = Descriptor(::open(path_.c_str(), kFlags | O_CREAT | O_EXCL, 0666));
    made_here_ = static_cast<bool>(file_);
    if (!file_) file_ = Descriptor(::open(path_.c_str(), kFlags));
  }
  if (!file_) throw UserError(with_errno("cannot write " + path_));
}

OutputFile::~OutputFile() {
  if (made_here_) unlink(path_.c_str());
}

void OutputFile::write(const std::string& text) {
  struct stat info {};
  const bool regular = !inherited_ && fstat(file_.get(), &info) == 0 && S_ISREG(info.st_mode);
  if (regular && replace(text)) {
    made_here_ = false;
    return;
  }
  if ((regular && ftruncate(file_.get(), 0) != 0) || !write_all(file_.get(), text)) {
    throw UserError(with_errno("cannot write " + path_));
  }
  made_here_ = false;
}

// False: another file cannot have its place, or not with the same owner and mode.
bool OutputFile::replace(const std::string& text) const {
  struct stat old {};
  struct stat fresh {};
  std::error_code error;
  // Not a symbolic link, but what it leads to.
  const fs::path target = fs::canonical(path_, error);
  if (error || fstat(file_.get(), &old) != 0 || old.st_nlink != 1) return false;
  Successor successor(target);
  if (!successor || fstat(successor.fd(), &fresh) != 0) return false;
  const bool same_owner = old.st_uid == fresh.st_uid && old.st_gid == fresh.st_gid;
  if (!same_owner && fchown(successor.fd(), old.st_uid, old.st_gid) != 0) return false;
  if (fchmod(successor.fd(), old.st_mode & 07777) != 0) return false;
  if (!write_all(successor.fd(), text)) throw UserError(with_errno("cannot write " + path_));
  return successor.take_place_of(target);
}

}  // namespace portpool
