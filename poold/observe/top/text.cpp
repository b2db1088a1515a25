#include "observe/top/text.h"

#include <fmt/format.h>

#include <algorithm>

namespace portpool {

std::size_t width_of(const Line& line) {
  std::size_t width = 0;
  for (const Span& span : line) width += span.text.size();
  return width;
}

Line clipped(const Line& line, std::size_t width) {
  Line result;
  for (const Span& span : line) {
    if (width == 0) break;
    result.push_back({span.style, span.text.substr(0, width)});
    width -= result.back().text.size();
  }
  return result;
}

char spark_in_ascii(char level) {
  constexpr std::string_view kLevels = " .:-=+*#@";
  const auto index = static_cast<std::size_t>(level - '0');
  return index < kLevels.size() ? kLevels[index] : '?';
}

std::string plain_text(const Line& line) {
  std::string text;
  for (const Span& span : line) {
    const bool spark = span.style == Style::spark || span.style == Style::chosen_spark;
    for (const char c : span.text) text += spark ? spark_in_ascii(c) : c;
  }
  text.erase(text.find_last_not_of(' ') + 1);
  return text + "\n";
}

std::string shortened(const std::string& text, std::size_t width) {
  if (text.size() <= width) return text;
  if (width < 4) return text.substr(0, width);
  const std::size_t tail = (width - 1) / 2;
  return text.substr(0, width - 1 - tail) + "~" + text.substr(text.size() - tail);
}

std::string short_rate(double value) {
  if (value < 0.05) return "0";
  if (value < 9.95) return fmt::format("{:.1f}", value);
  if (value < 99'999.5) return fmt::format("{:.0f}", value);
  if (value < 999'500) return fmt::format("{:.0f}k", value / 1e3);
  return fmt::format("{:.1f}M", value / 1e6);
}

std::string short_count(std::uint64_t value) {
  return value < 100'000 ? std::to_string(value) : short_rate(static_cast<double>(value));
}

std::string short_us(double us) {
  if (us < 999.95) return fmt::format("{:.1f}", us);
  if (us < 99'999.5) return fmt::format("{:.0f}", us);
  if (us < 999'500) return fmt::format("{:.0f}ms", us / 1e3);
  return fmt::format("{:.1f}s", us / 1e6);
}

std::string short_age(double seconds) {
  const auto s = static_cast<std::uint64_t>(std::max(seconds, 0.0));
  if (s < 60) return fmt::format("{}s", s);
  if (s < 3600) return fmt::format("{}m{:02}s", s / 60, s % 60);
  if (s < 86400) return fmt::format("{}h{:02}m", s / 3600, s / 60 % 60);
  return fmt::format("{}d{:02}h", s / 86400, s / 3600 % 24);
}

}  // namespace portpool
