// Options whose value is a number or a time. What is none, or lies outside the range, is told in
// words: which option, what it had, what it wants.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace portpool {

// A decimal number of seconds, or with ms, s, m or h behind it.
std::optional<double> seconds_in(std::string_view text);

// `what`: of what the number is, "seconds".
CLI::Option* add_number_option(CLI::App& command, const std::string& name, double& value,
                               double low, double high, const char* what, const std::string& help);
// Seconds; `low` and `high` are as words.
CLI::Option* add_time_option(CLI::App& command, const std::string& name, double& seconds,
                             const std::string& low, const std::string& high,
                             const std::string& help);
CLI::Option* add_count_option(CLI::App& command, const std::string& name, std::uint64_t& value,
                              std::uint64_t low, std::uint64_t high, const std::string& help);
// Process numbers, separated by commas.
CLI::Option* add_pids_option(CLI::App& command, const std::string& name,
                             std::vector<std::uint32_t>& pids, const std::string& help);

}  // namespace portpool
