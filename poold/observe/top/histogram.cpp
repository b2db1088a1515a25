#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "base/clock.h"
#include "observe/top/page.h"

namespace portpool {
namespace {

constexpr std::size_t kOctaves = kLatencyLastOctave - kLatencyFirstOctave + 1;
using Octaves = std::array<std::uint64_t, kOctaves>;

// Calls by doublings of the latency.
Octaves by_octave(const LatencySum& latency) {
  Octaves sums{};
  for (std::size_t i = 0; i < kLatencyBuckets; ++i)
    sums[i >> kLatencySubBits] += latency.buckets[i];
  return sums;
}

struct Rows {
  std::size_t first = 0;
  std::size_t octaves_each = 1;
  std::size_t count = 0;
};

// The doublings in use, in rows of as many as it takes to stay within `height`.
Rows arrange(const Octaves& a, const Octaves& b, std::size_t height) {
  std::size_t first = kOctaves;
  std::size_t last = 0;
  for (std::size_t i = 0; i < kOctaves; ++i) {
    if (a[i] + b[i] == 0) continue;
    first = std::min(first, i);
    last = i;
  }
  if (first == kOctaves) return {};
  const std::size_t used = last - first + 1;
  const std::size_t each = (used + height - 1) / height;
  return {first, each, (used + each - 1) / each};
}

std::uint64_t sum_of(const Octaves& octaves, const Rows& rows, std::size_t row) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < rows.octaves_each; ++i) {
    const std::size_t octave = rows.first + row * rows.octaves_each + i;
    if (octave < kOctaves) sum += octaves[octave];
  }
  return sum;
}

// A bar of at most `width` cells, and the share in per cent behind it where there is room.
void add_bar(Line& line, std::uint64_t part, std::uint64_t whole, std::uint64_t longest,
             std::size_t width) {
  constexpr std::size_t kShareWidth = 6;
  const std::size_t share_width = width > 2 * kShareWidth ? kShareWidth : 0;
  const std::size_t room = width - share_width;
  const double fraction =
      longest == 0 ? 0 : static_cast<double>(part) / static_cast<double>(longest);
  std::size_t cells = static_cast<std::size_t>(std::lround(fraction * static_cast<double>(room)));
  if (part != 0) cells = std::clamp<std::size_t>(cells, 1, room);
  line.push_back({Style::bar, std::string(cells, '#')});
  std::string share;
  if (part != 0 && share_width != 0) {
    const double percent = static_cast<double>(part) * 100 / static_cast<double>(whole);
    share = percent < 0.05 ? " <0.1%" : fmt::format(" {:.1f}%", percent);
    share = share.substr(0, share_width);
  }
  line.push_back({Style::plain, fmt::format("{:<{}}", share, width - cells)});
}

}  // namespace

std::vector<Line> draw_histogram(const Snapshot& snapshot, std::size_t width, std::size_t height) {
  constexpr std::size_t kLabel = 8;
  if (height < 2 || width < kLabel + 4) return {};
  const LatencySum pool = snapshot.window.path(Route::pool);
  const LatencySum kernel = snapshot.window.path(Route::kernel);
  const Octaves pool_octaves = by_octave(pool);
  const Octaves kernel_octaves = by_octave(kernel);
  const Rows rows = arrange(pool_octaves, kernel_octaves, height - 1);
  std::uint64_t longest_pool = 0;
  std::uint64_t longest_kernel = 0;
  for (std::size_t r = 0; r < rows.count; ++r) {
    longest_pool = std::max(longest_pool, sum_of(pool_octaves, rows, r));
    longest_kernel = std::max(longest_kernel, sum_of(kernel_octaves, rows, r));
  }
  const bool both = pool.count != 0 && kernel.count != 0;
  const std::size_t bar = both ? (width - kLabel - 2) / 2 : width - kLabel - 1;
  std::vector<Line> lines;
  const auto column = [bar](const char* name, std::uint64_t count) {
    const std::string with_count = fmt::format("{} {}", name, short_count(count));
    return fmt::format("{:<{}}", with_count.size() <= bar ? with_count : name, bar);
  };
  std::string heading = fmt::format("{:>{}} ", "from us", kLabel);
  if (pool.count != 0) heading += column("POOL", pool.count);
  if (both) heading += " ";
  if (kernel.count != 0) heading += column("KERNEL", kernel.count);
  lines.push_back({{Style::heading, heading}});
  for (std::size_t r = 0; r < rows.count; ++r) {
    const std::size_t octave = rows.first + r * rows.octaves_each;
    Line line{
        {Style::plain,
         fmt::format("{:>{}} ", short_us(to_us(latency_bucket_low(octave << kLatencySubBits))),
                     kLabel)}};
    if (pool.count != 0) {
      add_bar(line, sum_of(pool_octaves, rows, r), pool.count, longest_pool, bar);
    }
    if (both) line.push_back({Style::plain, " "});
    if (kernel.count != 0) {
      add_bar(line, sum_of(kernel_octaves, rows, r), kernel.count, longest_kernel, bar);
    }
    lines.push_back(std::move(line));
  }
  if (rows.count == 0) lines.push_back({{Style::dim, "  no connects in this time"}});
  return lines;
}

}  // namespace portpool
