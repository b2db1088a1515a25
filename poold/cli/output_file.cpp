#include "cli/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/error.h"

namespace portpool {

OutputFile::OutputFile(std::string path) : path_(std::move(path)) {
  if (path_.empty()) return;
  constexpr int kFlags = O_WRONLY | O_CLOEXEC | O_NOCTTY;
  file_ = Descriptor(::open(path_.c_str(), kFlags | O_CREAT | O_EXCL, 0666));
  made_here_ = static_cast<bool>(file_);
  if (!file_) file_ = Descriptor(::open(path_.c_str(), kFlags));
  if (!file_) throw UserError(with_errno("cannot write " + path_));
}

OutputFile::~OutputFile() {
  if (made_here_) unlink(path_.c_str());
}

void OutputFile::write(const std::string& text) {
  struct stat info {};
  const bool regular = fstat(file_.get(), &info) == 0 && S_ISREG(info.st_mode);
  if (regular && ftruncate(file_.get(), 0) != 0)
    throw UserError(with_errno("cannot write " + path_));
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t part = ::write(file_.get(), text.data() + done, text.size() - done);
    if (part < 0 && errno == EINTR) continue;
    if (part < 0) throw UserError(with_errno("cannot write " + path_));
    done += static_cast<std::size_t>(part);
  }
  made_here_ = false;
}

}  // namespace portpool
