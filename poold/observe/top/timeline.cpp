#include "observe/top/timeline.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "observe/history_moments.h"

namespace portpool {
namespace {

constexpr std::size_t kNameWidth = 9;
constexpr std::size_t kMaxWidth = 11;  // " max 12345"
constexpr std::uint64_t kNs = 1'000'000'000;

std::uint64_t length_ns(TimelineStep step) {
  switch (step) {
    case TimelineStep::second:
      return kNs;
    case TimelineStep::ten_seconds:
      return 10 * kNs;
    case TimelineStep::minute:
      break;
  }
  return 60 * kNs;
}

const char* text_of(TimelineStep step) {
  switch (step) {
    case TimelineStep::second:
      return "1 s";
    case TimelineStep::ten_seconds:
      return "10 s";
    case TimelineStep::minute:
      break;
  }
  return "1 min";
}

struct Row {
  const char* name;
  std::vector<double> values;  // NaN: nothing to show
};

std::array<Row, 4> rows_of(const HistoryReading& history,
                           const std::vector<TimelineColumn>& columns) {
  std::array<Row, 4> rows{{{"pool/s", {}}, {"kernel/s", {}}, {"p99 us", {}}, {"failed/s", {}}}};
  for (const TimelineColumn& column : columns) {
    const Happened happened = history.between(column.from, column.to);
    const double seconds = std::max(happened.seconds, 0.001);
    const auto rate = [&](std::uint64_t count) { return static_cast<double>(count) / seconds; };
    rows[0].values.push_back(rate(happened.report.path(Route::pool).count));
    rows[1].values.push_back(rate(happened.report.path(Route::kernel).count));
    rows[2].values.push_back(p99_us(happened.report));
    rows[3].values.push_back(rate(happened.errors()));
  }
  return rows;
}

// Of eight; whatever is more than nothing shows.
char level_of(double value, double highest) {
  if (std::isnan(value) || value <= 0) return '0';
  const auto level = static_cast<int>(std::lround(value / highest * 8));
  return static_cast<char>('0' + std::clamp(level, 1, 8));
}

Line row_line(const Row& row, std::optional<std::size_t> marked, std::size_t cells) {
  double highest = 0;
  for (const double value : row.values) {
    if (value > highest) highest = value;
  }
  Line line{{Style::dim, fmt::format("{:<{}}", row.name, kNameWidth)}};
  // The latest stands at the right edge.
  std::string levels(cells - row.values.size(), '0');
  for (const double value : row.values) levels += level_of(value, highest);
  if (marked) {
    const std::size_t at = cells - row.values.size() + *marked;
    line.push_back({Style::spark, levels.substr(0, at)});
    line.push_back({Style::chosen_spark, levels.substr(at, 1)});
    line.push_back({Style::spark, levels.substr(at + 1)});
  } else {
    line.push_back({Style::spark, levels});
  }
  const bool is_time = std::string_view(row.name) == "p99 us";
  line.push_back(
      {Style::dim, fmt::format(" max {:<6}", is_time ? short_us(highest) : short_rate(highest))});
  return line;
}

}  // namespace

TimelineStep next_step(TimelineStep step) {
  return step == TimelineStep::minute ? TimelineStep::second
                                      : static_cast<TimelineStep>(static_cast<int>(step) + 1);
}

std::vector<TimelineColumn> timeline_columns(const HistoryReading& history, TimelineStep step) {
  std::vector<TimelineColumn> columns;
  const auto& points = history.points();
  // By the clock, so that a column stays as it is while further ones come.
  const auto number_of = [&](std::size_t i) { return points[i].at_boot_ns / length_ns(step); };
  for (std::size_t to = 1; to < points.size(); ++to) {
    const bool goes_on =
        step != TimelineStep::second && !columns.empty() && number_of(to) == number_of(to - 1);
    if (goes_on) {
      columns.back().to = to;
    } else {
      columns.push_back({to - 1, to});
    }
  }
  return columns;
}

std::size_t column_of(const std::vector<TimelineColumn>& columns, std::size_t at) {
  const auto found = std::find_if(columns.begin(), columns.end(),
                                  [&](const TimelineColumn& column) { return column.to >= at; });
  return found == columns.end() ? columns.size() - 1
                                : static_cast<std::size_t>(found - columns.begin());
}

std::vector<Line> draw_timeline(const HistoryReading& history, TimelineStep step,
                                std::optional<std::size_t> at, std::size_t width) {
  if (history.empty() || width < kNameWidth + kMaxWidth + 10) return {};
  const std::size_t cells = width - kNameWidth - kMaxWidth;
  std::vector<TimelineColumn> columns = timeline_columns(history, step);
  std::optional<std::size_t> marked;
  if (at) marked = column_of(columns, *at);
  // The marked column is in sight, in the middle where it can be.
  std::size_t end = columns.size();
  if (marked && columns.size() > cells && *marked + cells < columns.size() + cells / 2) {
    end = std::clamp(*marked + cells / 2, cells, columns.size());
  }
  const std::size_t begin = end - std::min(end, cells);
  if (marked) *marked -= begin;
  columns = {columns.begin() + static_cast<std::ptrdiff_t>(begin),
             columns.begin() + static_cast<std::ptrdiff_t>(end)};
  std::vector<Line> lines;
  for (const Row& row : rows_of(history, columns)) lines.push_back(row_line(row, marked, cells));

  const auto& points = history.points();
  const std::uint64_t now_ns = points.back().at_ns;
  std::string axis(cells, ' ');
  const auto put = [&](std::size_t place, const std::string& text) {
    if (place + text.size() <= axis.size()) axis.replace(place, text.size(), text);
  };
  const std::string last = clock_text(points[columns.back().to].at_ns, now_ns);
  put(cells - columns.size(), clock_text(points[columns.front().to].at_ns, now_ns));
  if (columns.size() > 2 * last.size() + 3 && last.size() < cells) put(cells - last.size(), last);
  if (marked) axis[cells - columns.size() + *marked] = '^';
  lines.push_back(
      {{Style::dim, fmt::format("{:<{}}{} {} each", "", kNameWidth, axis, text_of(step))}});
  return lines;
}

}  // namespace portpool
