// A file that is written when all is over, but must be known to be writable before it begins.
#pragma once

#include <string>

#include "base/descriptor.h"

namespace portpool {

class OutputFile {
 public:
  // An empty path is no file at all; /dev/stdout, /dev/stderr and /dev/fd/N are those descriptors
  // themselves. Throws UserError when the file cannot be written. What it held stays until write().
  explicit OutputFile(std::string path);
  // Removes a file that was made here and never written.
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  explicit operator bool() const { return static_cast<bool>(file_); }
  const std::string& path() const { return path_; }

  // The whole content. A regular file gets it at once: whoever opens it finds all of the old or all
  // of the new, also when there is no space. Not where its folder, a second link or another owner
  // forbids to put a new file in its place: that one is overwritten. Descriptors, pipes and devices
  // get it after what they were given before. Throws UserError. Call once.
  void write(const std::string& text);

 private:
  bool replace(const std::string& text) const;

  std::string path_;
  Descriptor file_;
  bool inherited_ = false;
  bool made_here_ = false;
};

}  // namespace portpool
