#include "cli/watch.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <charconv>
#include <ctime>

#include "base/error.h"
#include "base/parse_number.h"
#include "base/text.h"

namespace portpool {

std::chrono::milliseconds watch_interval(const std::string& seconds) {
  constexpr double kShortest = 0.1;
  constexpr double kLongest = 86'400;
  if (seconds.empty()) return std::chrono::seconds(5);
  const auto value = finite_number(seconds);
  if (!value || *value < kShortest || *value > kLongest) {
    throw UserError(fmt::format("--watch \"{}\": expected seconds, from {} to {:.0f}",
                                for_terminal(seconds), kShortest, kLongest));
  }
  return std::chrono::round<std::chrono::milliseconds>(std::chrono::duration<double>(*value));
}

std::optional<std::chrono::seconds> span_of(std::string_view text) {
  constexpr long kLongest = 366L * 86'400;
  const char* end = text.data() + text.size();
  long number = 0;
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  const std::string_view unit(stop, static_cast<std::size_t>(end - stop));
  const long seconds = unit == "s" ? 1 : unit == "m" ? 60 : unit == "h" ? 3600 : 0;
  if (error != std::errc{} || seconds == 0 || number < 1 || number > kLongest / seconds) {
    return std::nullopt;
  }
  return std::chrono::seconds(number * seconds);
}

std::string time_line() {
  return fmt::format("{:%Y-%m-%d %H:%M:%S}\n", fmt::localtime(std::time(nullptr)));
}

std::string watch_heading() {
  return (isatty(STDOUT_FILENO) == 1 ? "\033[H\033[2J" : "") + time_line();
}

}  // namespace portpool
