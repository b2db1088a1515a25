#include "cli/numbers.h"

#include <fmt/format.h>

#include <limits>

#include "base/parse_number.h"

namespace portpool {
namespace {

[[noreturn]] void refuse_value(const std::string& name, const std::string& text,
                               const std::string& wanted) {
  throw CLI::ValidationError(fmt::format("{} \"{}\": expected {}", name, text, wanted));
}

// The option's long name: "-p,--pid" is told as "--pid".
std::string told_name(const std::string& name) { return name.substr(name.find("--")); }

}  // namespace

std::optional<double> seconds_in(std::string_view text) {
  struct Unit {
    std::string_view name;
    double seconds;
  };
  for (const Unit& unit : {Unit{"ms", 0.001}, Unit{"s", 1}, Unit{"m", 60}, Unit{"h", 3600}}) {
    if (!text.ends_with(unit.name)) continue;
    text.remove_suffix(unit.name.size());
    while (text.ends_with(' ')) text.remove_suffix(1);
    const auto value = finite_number(text);
    return value ? std::optional(*value * unit.seconds) : std::nullopt;
  }
  return finite_number(text);
}

CLI::Option* add_number_option(CLI::App& command, const std::string& name, double& value,
                               double low, double high, const char* what, const std::string& help) {
  return command.add_option_function<std::string>(
      name,
      [=, &value](const std::string& text) {
        const auto found = finite_number(text);
        if (!found || *found < low || *found > high) {
          refuse_value(name, text, fmt::format("{}, from {} to {}", what, low, high));
        }
        value = *found;
      },
      help);
}

CLI::Option* add_time_option(CLI::App& command, const std::string& name, double& seconds,
                             const std::string& low, const std::string& high,
                             const std::string& help) {
  return command
      .add_option_function<std::string>(
          name,
          [=, &seconds](const std::string& text) {
            const auto found = seconds_in(text);
            if (!found || *found < seconds_in(low) || *found > seconds_in(high)) {
              refuse_value(
                  name, text,
                  fmt::format("a time like 500ms, 2s, 1m or 1h, from {} to {}", low, high));
            }
            seconds = *found;
          },
          help)
      ->type_name("TIME");
}

CLI::Option* add_count_option(CLI::App& command, const std::string& name, std::uint64_t& value,
                              std::uint64_t low, std::uint64_t high, const std::string& help) {
  return command.add_option_function<std::string>(
      name,
      [=, &value](const std::string& text) {
        const auto found = whole_number<std::uint64_t>(text);
        if (!found || *found < low || *found > high) {
          refuse_value(name, text, fmt::format("a whole number, from {} to {}", low, high));
        }
        value = *found;
      },
      help);
}

CLI::Option* add_pids_option(CLI::App& command, const std::string& name,
                             std::vector<std::uint32_t>& pids, const std::string& help) {
  constexpr std::uint64_t kLast = std::numeric_limits<std::int32_t>::max();
  return command
      .add_option_function<std::vector<std::string>>(
          name,
          [=, &pids](const std::vector<std::string>& texts) {
            for (const std::string& text : texts) {
              const auto found = whole_number<std::uint64_t>(text);
              if (!found || *found < 1 || *found > kLast) {
                refuse_value(told_name(name), text, "a process's number");
              }
              pids.push_back(static_cast<std::uint32_t>(*found));
            }
          },
          help)
      ->delimiter(',')
      ->type_name("PID");
}

}  // namespace portpool
