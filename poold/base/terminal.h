// What a terminal may be sent.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <string>

namespace portpool {

// NO_COLOR (no-color.org): set and not empty.
inline bool colours_are_refused() {
  const char* no_colour = std::getenv("NO_COLOR");
  return no_colour != nullptr && *no_colour != '\0';
}

// Names come from other users' processes: whatever is not printable ASCII becomes "?".
inline std::string printable(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < 32 || c > 126; }, '?');
  return text;
}

}  // namespace portpool
