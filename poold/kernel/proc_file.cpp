#include "kernel/proc_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/descriptor.h"

namespace portpool::kernel {

std::optional<std::string> read_proc_file(const std::string& path, std::size_t limit) {
  constexpr std::size_t kChunk = 32768;
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return std::nullopt;
  std::string text;
  ssize_t size = 1;
  while (size > 0 && text.size() < limit) {
    const std::size_t before = text.size();
    text.resize(before + kChunk);
    do {
      size = ::read(file.get(), text.data() + before, kChunk);
    } while (size < 0 && errno == EINTR);
    text.resize(before + static_cast<std::size_t>(size > 0 ? size : 0));
  }
  if (size < 0) return std::nullopt;
  return text;
}

std::vector<std::string_view> strings_in(std::string_view text) {
  std::vector<std::string_view> strings;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\0'), text.size());
    strings.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return strings;
}

std::optional<std::string> variable_in(std::string_view environ, std::string_view name) {
  for (const std::string_view entry : strings_in(environ)) {
    if (entry.starts_with(name) && entry.substr(name.size()).starts_with('=')) {
      return std::string(entry.substr(name.size() + 1));
    }
  }
  return std::nullopt;
}

}  // namespace portpool::kernel
