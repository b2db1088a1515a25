// What commands that look again and again have in common.
#pragma once

#include <chrono>
#include <string>

namespace portpool {

// Of --watch; "" is 5 s. Throws UserError for what is no number from 0.1 to 86,400.
std::chrono::milliseconds watch_interval(const std::string& seconds);

// The time of day, as a line.
std::string time_line();
// The same; on a terminal the screen is cleared first.
std::string watch_heading();

}  // namespace portpool
