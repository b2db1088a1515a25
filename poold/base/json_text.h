// The one way from JSON to text.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace portpool {

// Valid JSON whatever the strings hold: names and paths from outside need not be UTF-8, and what is
// not becomes U+FFFD. Pure printable ASCII (and newlines, with an indent), so that it does nothing
// to a terminal either. `indent`: -1 puts all on one line.
inline std::string json_text(const nlohmann::ordered_json& root, int indent = 2) {
  return root.dump(indent, ' ', true, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace portpool
