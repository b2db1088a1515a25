#include "kernel/time_offsets.h"

#include <sstream>
#include <string>

#include "kernel/proc_file.h"

namespace portpool::kernel {
namespace {

constexpr std::size_t kMaxSize = 4096;

std::optional<TimeOffsets> offsets_of(const std::string& process) {
  const auto text = read_proc_file("/proc/" + process + "/timens_offsets", kMaxSize);
  return text ? parse_time_offsets(*text) : std::nullopt;
}

}  // namespace

std::optional<TimeOffsets> parse_time_offsets(std::string_view text) {
  constexpr std::int64_t kNsPerSecond = 1'000'000'000;
  std::istringstream words{std::string(text)};
  std::optional<std::int64_t> monotonic;
  std::optional<std::int64_t> boottime;
  std::string clock;
  std::int64_t seconds = 0;
  std::int64_t nanoseconds = 0;
  while (words >> clock >> seconds >> nanoseconds) {
    // The kernel allows half of what 64 bits hold (kernel/time/namespace.c,
    // proc_timens_set_offset).
    if (seconds > INT64_MAX / 2 / kNsPerSecond || seconds < INT64_MIN / 2 / kNsPerSecond) continue;
    const std::int64_t offset = seconds * kNsPerSecond + nanoseconds;
    if (clock == "monotonic") monotonic = offset;
    if (clock == "boottime") boottime = offset;
  }
  if (!monotonic || !boottime) return std::nullopt;
  return TimeOffsets{*monotonic, *boottime};
}

std::optional<TimeOffsets> time_offsets(pid_t pid) { return offsets_of(std::to_string(pid)); }

std::optional<TimeOffsets> own_time_offsets() { return offsets_of("self"); }

}  // namespace portpool::kernel
