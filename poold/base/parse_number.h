// Numbers that others wrote, from end to end: nothing before, nothing behind, no sign where the
// type has none.
#pragma once

#include <charconv>
#include <cmath>
#include <optional>
#include <string_view>
#include <system_error>

namespace portpool {
namespace detail {

template <class Number, class... Format>
std::optional<Number> parse_number(std::string_view text, Format... format) {
  Number value{};
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value, format...);
  if (error != std::errc{} || stop != end) return std::nullopt;
  return value;
}

}  // namespace detail

template <class Number>
std::optional<Number> whole_number(std::string_view text, int base = 10) {
  return detail::parse_number<Number>(text, base);
}

// nullopt also for infinity and NaN.
inline std::optional<double> finite_number(std::string_view text) {
  const auto value = detail::parse_number<double>(text);
  return value && std::isfinite(*value) ? value : std::nullopt;
}

}  // namespace portpool
