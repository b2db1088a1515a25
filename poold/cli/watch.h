// What commands that look again and again, or back, have in common.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace portpool {

// Of --watch; "" is 5 s. Throws UserError for what is no number from 0.1 to 86,400.
std::chrono::milliseconds watch_interval(const std::string& seconds);

// Of --since: "90s", "10m", "1h", up to a year. Null for anything else.
std::optional<std::chrono::seconds> span_of(std::string_view text);

// The time of day, as a line.
std::string time_line();
// The same; on a terminal the screen is cleared first.
std::string watch_heading();

}  // namespace portpool
