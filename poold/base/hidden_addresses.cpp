#include "base/hidden_addresses.h"

#include <fmt/format.h>

#include <algorithm>
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

struct Found {
  Address address;
  std::size_t length;
};

// The address that `run` begins with: all of it, or what stands before ":" and a port, or before a
// full stop or a colon of the sentence.
std::optional<Found> address_in(std::string_view run) {
  for (std::size_t length = run.size(); length != 0 && length != run.npos;) {
    const std::string_view candidate = run.substr(0, length);
    if (const auto address = parse_address(candidate)) return Found{*address, length};
    length = candidate.find_last_of(":.");
  }
  return std::nullopt;
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
    const auto found = inside_word ? std::nullopt : address_in(run);
    const std::size_t step = found ? found->length : std::max<std::size_t>(run.size(), 1);
    if (!found || is_loopback(found->address) || is_unspecified(found->address)) {
      result += text.substr(at, step);
    } else {
      const auto number = numbers.emplace(to_text(found->address), numbers.size() + 1).first;
      result += fmt::format("address-{}", number->second);
    }
    at += step;
  }
  return result;
}

}  // namespace portpool
