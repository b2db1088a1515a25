#include "kernel/proc_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/descriptor.h"

namespace portpool::kernel {
namespace {

constexpr std::size_t kChunk = 32768;

ssize_t read_part(const Descriptor& file, char* to, std::size_t size) {
  ssize_t n = 0;
  do {
    n = ::read(file.get(), to, size);
  } while (n < 0 && errno == EINTR);
  return n;
}

}  // namespace

std::optional<std::string> read_proc_file(const std::string& path, std::size_t limit) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return std::nullopt;
  std::string text;
  ssize_t size = 1;
  while (size > 0 && text.size() < limit) {
    const std::size_t before = text.size();
    const std::size_t part = std::min(kChunk, limit - before);
    text.resize(before + part);
    size = read_part(file, text.data() + before, part);
    text.resize(before + static_cast<std::size_t>(size > 0 ? size : 0));
  }
  if (size < 0) return std::nullopt;
  return text;
}

bool visit_lines(const std::string& path, const std::function<bool(std::string_view)>& visit) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return false;
  std::string text;  // lines that are not visited yet
  for (;;) {
    const std::size_t before = text.size();
    text.resize(kChunk);
    const ssize_t size = read_part(file, text.data() + before, kChunk - before);
    if (size < 0) return false;
    text.resize(before + static_cast<std::size_t>(size));
    std::string_view rest = text;
    while (!rest.empty()) {
      const std::size_t end = rest.find('\n');
      if (end == std::string_view::npos && size > 0 && rest.size() < kChunk) break;
      if (!visit(rest.substr(0, end))) return true;
      rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    }
    if (size == 0) return true;
    text.erase(0, text.size() - rest.size());
  }
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
  // One by one: it may be millions of empty strings.
  while (!environ.empty()) {
    const std::string_view entry = environ.substr(0, environ.find('\0'));
    if (entry.starts_with(name) && entry.substr(name.size()).starts_with('=')) {
      return std::string(entry.substr(name.size() + 1));
    }
    environ.remove_prefix(std::min(entry.size() + 1, environ.size()));
  }
  return std::nullopt;
}

}  // namespace portpool::kernel
