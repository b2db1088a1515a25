// What the words of status, trace and metrics mean and what to do, as docs/troubleshooting.md has
// it in its tables: the page is part of the program.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace portpool {

struct Explanation {
  std::string name;
  std::string meaning;
  std::string action;
};

// In the page's order: fallback reasons, then the other words that a trace shows.
std::vector<Explanation> explanations();

std::optional<Explanation> explain(std::string_view name);

}  // namespace portpool
