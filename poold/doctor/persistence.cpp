#include "doctor/persistence.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"

namespace portpool::doctor {
namespace {

constexpr std::string_view kCommand = "sysctl -w ";
constexpr std::string_view kNameLetters = "abcdefghijklmnopqrstuvwxyz0123456789_.";

// The length of the NAME=VALUE that `text` begins with; 0 when it begins with none.
std::size_t assignment_length(std::string_view text) {
  const std::size_t equals = std::min(text.find_first_not_of(kNameLetters), text.size());
  if (equals == 0 || equals == text.size() || text[equals] != '=') return 0;
  if (equals + 1 < text.size() && text[equals + 1] == '"') {
    const std::size_t quote = text.find('"', equals + 2);
    return quote == std::string_view::npos ? 0 : quote + 1;
  }
  return std::min(text.find_first_of(" ,;", equals), text.size());
}

}  // namespace

std::string persistent_form(std::string_view fix) {
  const std::size_t at = fix.find(kCommand);
  if (at == std::string_view::npos) return "";
  std::string_view rest = fix.substr(at + kCommand.size());
  std::string file;
  std::string words;
  while (const std::size_t length = assignment_length(rest)) {
    std::string line(rest.substr(0, length));
    line.erase(std::remove(line.begin(), line.end(), '"'), line.end());
    if (file.empty()) file = line.substr(line.rfind('.', line.find('=')) + 1);
    words += " " + shell_quote(line);
    rest.remove_prefix(length);
    if (!rest.starts_with(' ')) break;
    rest.remove_prefix(1);
  }
  if (words.empty()) return "";
  file.erase(std::min(file.find('='), file.size()));
  return fmt::format("printf '%s\\n'{} > /etc/sysctl.d/90-{}.conf", words, file);
}

}  // namespace portpool::doctor
