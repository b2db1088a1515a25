#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/address_text.h"
#include "base/number_text.h"
#include "base/text.h"
#include "observe/report_text.h"

namespace portpool {
namespace {

// A lane with less than this share of its ports free is called low.
constexpr double kLow = 0.05;
// With more than this share on the kernel's path programs are not called well served.
constexpr double kMuch = 0.1;

std::string toward(const LaneReport& lane) {
  return fmt::format("{} from {}", to_text(destination_of(lane.key)), to_text(lane.key.source));
}

// "" where each lane has ports enough.
std::string shortage(const Report& report) {
  if (report.lanes.empty()) return "";
  const auto low = [](const LaneReport& lane) {
    return lane.counts.free < kLow * lane.counts.capacity;
  };
  const LaneReport& fullest = report.lanes.front();
  if (!low(fullest)) return "";
  const auto others = std::count_if(report.lanes.begin() + 1, report.lanes.end(), low);
  std::string text = fullest.counts.free == 0
                         ? fmt::format("No port is free toward {}", toward(fullest))
                         : fmt::format("Running low toward {}: {} of {} free", toward(fullest),
                                       count_text(fullest.counts.free),
                                       counted(fullest.counts.capacity, "port", "ports"));
  if (others > 0) {
    text += fmt::format("; {} more like it",
                        counted(static_cast<std::uint64_t>(others), "lane", "lanes"));
  }
  return text;
}

constexpr auto kNoPool = static_cast<std::size_t>(FallbackReason::k_no_pool);

std::string commonest_reason(const Report& report) {
  auto fallbacks = report.fallbacks;
  fallbacks[kNoPool] = 0;  // as somebody wished
  const auto most = std::max_element(fallbacks.begin(), fallbacks.end());
  if (*most == 0) return "";
  const FallbackText& text = kFallbackTexts[static_cast<std::size_t>(most - fallbacks.begin())];
  return fmt::format("{} ({})", text.name, text.sentence);
}

// Of a daemon that is alive.
std::string service(const Report& report) {
  const std::uint64_t pool = report.path(Route::pool).count;
  const std::uint64_t kernel = report.path(Route::kernel).count;
  const std::uint64_t all = pool + kernel - std::min(kernel, report.fallbacks[kNoPool]);
  if (report.clients == 0) {
    return pool + kernel == 0 ? "Nobody is attached, and nobody has been."
                              : "Nobody is attached now.";
  }
  if (report.control.mode == Mode::observe) {
    return "Observing: all connects go by the kernel's path and are only measured.";
  }
  const std::string low = shortage(report);
  if (!low.empty()) return low + ".";
  if (pool + kernel == 0) return "Ready: no program under the library has connected yet.";
  if (all == 0) {
    return fmt::format("On the kernel's path by the configuration: {}, all with pool = \"none\".",
                       counted(kernel, "connect", "connects"));
  }
  const double share = static_cast<double>(pool) / static_cast<double>(all);
  const std::string reason = commonest_reason(report);
  const std::string by_pool =
      fmt::format("{} of {} by the pool", percent_text(share), counted(all, "connect", "connects"));
  if (report.control.mode == Mode::ab)
    return fmt::format("Comparing pool and kernel in turn: {}.", by_pool);
  if (1 - share > kMuch && !reason.empty()) {
    return fmt::format("Partly on the kernel's path: {}; mostly because of {}.", by_pool, reason);
  }
  return fmt::format("Served well: {}.", by_pool);
}

// Those that the configuration expects and that are not served; "": none.
std::string who_is_missing(const Report& report) {
  constexpr std::size_t kNamed = 3;
  std::vector<std::string> names;
  for (const ExpectedReport& one : report.expected) {
    if (one.is_missing()) names.push_back(printable(one.name));
  }
  if (names.empty()) return "";
  const std::size_t named = std::min(names.size(), kNamed);
  std::string text = fmt::format(
      "{}", fmt::join(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(named), ", "));
  if (names.size() > named) text += fmt::format(" and {} more", names.size() - named);
  return fmt::format(" Expected and not served: {}.", text);
}

}  // namespace

std::string standing(const Report& report) {
  if (!report.alive()) {
    return report.stopped ? "On the kernel's path: poold was stopped."
                          : "On the kernel's path: poold's heartbeat has stopped.";
  }
  return service(report) + who_is_missing(report);
}

}  // namespace portpool
