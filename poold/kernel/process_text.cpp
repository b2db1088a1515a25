#include "kernel/process_text.h"

#include <algorithm>

#include "base/parse_number.h"
#include "base/text.h"

namespace portpool::kernel {

std::string_view stat_field(std::string_view stat, int number) {
  const std::size_t name_end = stat.rfind(") ");
  if (name_end == std::string_view::npos) return {};
  std::string_view rest = stat.substr(name_end + 2);
  for (int field = 3; field < number; ++field) {
    rest.remove_prefix(std::min(rest.find(' '), rest.size()));
    rest.remove_prefix(std::min<std::size_t>(1, rest.size()));
  }
  return rest.substr(0, rest.find(' '));
}

std::vector<std::string_view> status_words(std::string_view status, std::string_view name) {
  std::size_t at = 0;
  while (!status.substr(at).starts_with(name)) {
    at = status.find('\n', at);
    if (at == std::string_view::npos) return {};
    ++at;
  }
  std::string_view line = status.substr(at, status.find('\n', at) - at);
  line.remove_prefix(name.size());
  return words_of(line);
}

ino_t mapped_inode(std::string_view line) {
  for (int field = 0; field < 4; ++field) {
    line.remove_prefix(std::min(line.find(' '), line.size()));
    line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
  }
  return whole_number<ino_t>(line.substr(0, line.find(' '))).value_or(0);
}

std::optional<std::uint64_t> open_files_limit_in(std::string_view limits) {
  constexpr std::string_view kLabel = "Max open files";
  const std::size_t at = limits.find(kLabel);
  if (at == std::string_view::npos) return std::nullopt;
  std::string_view rest = limits.substr(at + kLabel.size());
  rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
  return whole_number<std::uint64_t>(rest.substr(0, rest.find(' ')));
}

}  // namespace portpool::kernel
