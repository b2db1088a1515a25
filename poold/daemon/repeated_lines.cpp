#include "daemon/repeated_lines.h"

#include <fmt/format.h>

#include <utility>

namespace portpool {

std::optional<std::string> RepeatedLines::take(std::string_view kind, std::string text, Time now) {
  const std::lock_guard lock(mutex_);
  const auto found = kinds_.find(kind);
  if (found == kinds_.end()) {
    kinds_.emplace(kind, Kind{now, 0, {}});
    return text;
  }
  Kind& known = found->second;
  if (now - known.said < kWindow) {
    ++known.left_out;
    known.last = std::move(text);
    return std::nullopt;
  }
  if (known.left_out > 0) text += fmt::format(" ({} more like this before)", known.left_out);
  known = {now, 0, {}};
  return text;
}

std::vector<std::string> RepeatedLines::due(Time now) {
  std::vector<std::string> lines;
  const std::lock_guard lock(mutex_);
  for (auto kind = kinds_.begin(); kind != kinds_.end();) {
    if (now - kind->second.said < kWindow) {
      ++kind;
    } else if (kind->second.left_out == 0) {
      kind = kinds_.erase(kind);
    } else {
      lines.push_back(summary(kind->second));
      kind->second = {now, 0, {}};
      ++kind;
    }
  }
  return lines;
}

std::string RepeatedLines::summary(const Kind& kind) {
  return fmt::format("{} more like this in the last minute, the last: {}", kind.left_out,
                     kind.last);
}

}  // namespace portpool
