#include "base/number_text.h"

#include <fmt/format.h>

#include <cmath>

namespace portpool {
namespace {

std::string three_digits(double value) {
  const double size = std::abs(value);
  if (std::isnan(value)) return "-";
  if (size >= 999.5) return count_text(static_cast<std::uint64_t>(std::llround(size)));
  return fmt::format("{:.{}f}", value, size < 9.995 ? 2 : size < 99.95 ? 1 : 0);
}

}  // namespace

std::string us_text(double us) { return three_digits(us); }

std::string time_text(double us) {
  if (us < 999.5) return three_digits(us) + " µs";
  if (us < 999'500) return three_digits(us / 1e3) + " ms";
  return three_digits(us / 1e6) + " s";
}

std::string ratio_text(double ratio) {
  return ratio >= 1.995 && ratio < 9.95 ? fmt::format("{:.1f}", ratio) : three_digits(ratio);
}

std::string count_text(std::uint64_t count) {
  const std::string digits = std::to_string(count);
  std::string text;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

std::string percent_text(double share) {
  const double percent = share * 100;
  if (percent > 0 && percent < 0.05) return "< 0.1 %";
  const bool edge = percent != 0 && percent != 100 && (percent < 9.95 || percent > 99);
  return fmt::format("{:.{}f} %", percent, edge ? 1 : 0);
}

std::string seconds_text(double seconds) {
  if (seconds < 1) return fmt::format("{:.0f} ms", seconds * 1000);
  return fmt::format("{:.{}f} s", seconds, seconds < 10 && seconds != std::floor(seconds) ? 1 : 0);
}

std::string counted(std::uint64_t count, std::string_view one, std::string_view many) {
  return fmt::format("{} {}", count_text(count), count == 1 ? one : many);
}

std::string p_text(double p) {
  return p < 0.001 ? "p < 0.001" : fmt::format("p = {:.{}f}", p, p < 0.1 ? 3 : 2);
}

}  // namespace portpool
