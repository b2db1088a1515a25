// From which severity on lines get into the log.
#pragma once

#include <map>
#include <string>

namespace portpool {

// The names are those of spdlog.
enum class LogLevel { trace, debug, info, warn, error, critical, off };

inline const std::map<std::string, LogLevel>& log_levels() {
  static const std::map<std::string, LogLevel> levels = {
      {"trace", LogLevel::trace}, {"debug", LogLevel::debug}, {"info", LogLevel::info},
      {"warn", LogLevel::warn},   {"error", LogLevel::error}, {"critical", LogLevel::critical},
      {"off", LogLevel::off}};
  return levels;
}

}  // namespace portpool
