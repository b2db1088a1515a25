#include "check/script.h"

#include <algorithm>
#include <string_view>

#include "base/text.h"
#include "kernel/proc_file.h"

namespace portpool::check {
namespace {

constexpr std::size_t kMostRead = std::size_t{256} << 10;

bool is_shell(std::string_view interpreter) {
  constexpr std::string_view kShells[] = {"sh", "bash", "dash", "ksh", "zsh", "ash", "busybox"};
  const std::string_view name = interpreter.substr(interpreter.rfind('/') + 1);
  return std::find(std::begin(kShells), std::end(kShells), name) != std::end(kShells);
}

// What the shell would expand, or take for more than a word.
bool is_plain(std::string_view word) {
  return word.find_first_of("$`*?;&|<>(){}\\") == std::string_view::npos;
}

std::string without_quotes(std::string_view word) {
  std::string bare;
  for (const char c : word) {
    if (c != '"' && c != '\'') bare += c;
  }
  return bare;
}

bool is_redirection(std::string_view word) {
  word.remove_prefix(std::min(word.find_first_not_of("0123456789&"), word.size()));
  return word.starts_with('<') || word.starts_with('>');
}

}  // namespace

std::optional<std::vector<std::string>> command_of_script(const std::string& path,
                                                          const std::string& interpreter) {
  if (!is_shell(interpreter)) return std::nullopt;
  const auto text = kernel::read_proc_file(path, kMostRead);
  std::optional<std::vector<std::string>> found;
  std::string_view rest = text ? std::string_view(*text) : std::string_view();
  while (!rest.empty()) {
    const std::vector<std::string_view> words = words_of(rest.substr(0, rest.find('\n')));
    rest.remove_prefix(std::min(rest.find('\n'), rest.size() - 1) + 1);
    // With nothing but redirections it starts nothing (exec >log 2>&1).
    if (words.size() < 2 || words[0] != "exec" || is_redirection(words[1])) continue;
    found.emplace();
    for (std::size_t i = 1; i < words.size() && is_plain(words[i]); ++i) {
      found->push_back(without_quotes(words[i]));
    }
  }
  return found;
}

}  // namespace portpool::check
