// A file that is written when all is over, but must be known to be writable before it begins.
#pragma once

#include <string>

#include "base/descriptor.h"

namespace portpool {

class OutputFile {
 public:
  // An empty path is no file at all. Throws UserError when the file cannot be written. What it held
  // stays until write().
  explicit OutputFile(std::string path);
  // Removes a file that was made here and never written.
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  explicit operator bool() const { return static_cast<bool>(file_); }
  const std::string& path() const { return path_; }

  // Replaces the content; of a file only. Throws UserError.
  void write(const std::string& text);

 private:
  std::string path_;
  Descriptor file_;
  bool made_here_ = false;
};

}  // namespace portpool
