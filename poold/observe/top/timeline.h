// The last hour as rows of small bars, and the way to a moment of it.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "observe/history.h"
#include "observe/top/text.h"

namespace portpool {

// How much of the record a column of the timeline is.
enum class TimelineStep { second, ten_seconds, minute };
TimelineStep next_step(TimelineStep step);

// Indices of points of a record; `from` is before `to`.
struct TimelineColumn {
  std::size_t from = 0;
  std::size_t to = 0;
};
// Oldest first. Each but the first and the last is as long as the step, where the record has so
// much detail and no gap.
std::vector<TimelineColumn> timeline_columns(const HistoryReading& history, TimelineStep step);

// The column in which the point `at` is, or the next one to it. Of columns that are not empty.
std::size_t column_of(const std::vector<TimelineColumn>& columns, std::size_t at);

// Five lines of at most `width` cells: connects by path, p99, errors, and the time. `at`: the point
// that is looked at, which then is in sight.
std::vector<Line> draw_timeline(const HistoryReading& history, TimelineStep step,
                                std::optional<std::size_t> at, std::size_t width);
inline constexpr std::size_t kTimelineHeight = 5;

}  // namespace portpool
