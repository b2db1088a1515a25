#include "doctor/check.h"

#include <fmt/format.h>

#include <algorithm>

namespace portpool::doctor {

std::string_view name_of(Status status) {
  switch (status) {
    case Status::ok:
      return "ok";
    case Status::unknown:
      return "unknown";
    case Status::warn:
      return "warn";
    case Status::fail:
      return "fail";
  }
  return "unknown";
}

std::string percent(std::uint64_t part, std::uint64_t whole) {
  if (whole == 0 || part == 0) return "0 %";
  return fmt::format("{:.1f} %", 100.0 * static_cast<double>(part) / static_cast<double>(whole));
}

Status overall(const std::vector<Check>& checks) {
  Status worst = Status::ok;
  for (const Check& check : checks) worst = std::max(worst, check.status);
  return worst;
}

int exit_status(Status status) {
  switch (status) {
    case Status::ok:
      return 0;
    case Status::warn:
      return 1;
    case Status::fail:
      return 2;
    case Status::unknown:
      return 3;
  }
  return 3;
}

}  // namespace portpool::doctor
