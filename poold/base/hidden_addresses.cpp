#include "base/hidden_addresses.h"

#include <fmt/format.h>

#include <map>
#include <optional>

#include "base/address_text.h"

namespace portpool {
namespace {

bool belongs_to_address(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') || c == '.' ||
         c == ':';
}

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

// How much of `run` is an address: all of it, or what stands before ":" and a port, or before a
// full stop or a colon of the sentence. 0: nothing.
std::size_t address_length(std::string_view run) {
  for (std::size_t length = run.size(); length != 0 && length != run.npos;) {
    const std::string_view candidate = run.substr(0, length);
    if (parse_address(candidate)) return length;
    length = candidate.find_last_of(":.");
  }
  return 0;
}

bool is_the_same_everywhere(std::string_view address) {
  const auto parsed = parse_address(address);
  const std::string text = to_text(*parsed);
  return text.starts_with("127.") || text == "::1" || text == "0.0.0.0" || text == "::";
}

}  // namespace

std::string without_addresses(std::string_view text) {
  std::map<std::string, std::size_t> numbers;
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = at;
    while (end < text.size() && belongs_to_address(text[end])) ++end;
    const bool inside_word =
        (at > 0 && is_word(text[at - 1])) || (end < text.size() && is_word(text[end]));
    const std::string_view run = text.substr(at, end - at);
    const std::size_t length = inside_word ? 0 : address_length(run);
    if (length != 0 && !is_the_same_everywhere(run.substr(0, length))) {
      const auto number =
          numbers.emplace(to_text(*parse_address(run.substr(0, length))), numbers.size() + 1).first;
      result += fmt::format("address-{}", number->second);
      at += length;
      continue;
    }
    const std::size_t step = length != 0 ? length : run.empty() ? 1 : run.size();
    result += text.substr(at, step);
    at += step;
  }
  return result;
}

}  // namespace portpool
