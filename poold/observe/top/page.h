// One screenful of figures, as lines of text: everything that top shows, at any size.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "observe/top/lanes_view.h"
#include "observe/top/monitor.h"
#include "observe/top/text.h"
#include "observe/top/timeline.h"

namespace portpool {

// What the user has chosen.
struct View {
  LaneOrder order;
  std::size_t scroll =
      0;  // the first lane (or program, or line of help) shown; too high a value is cut
  bool histogram = false;
  bool help = false;
  bool paused = false;
  bool lists_programs = false;        // in the place of lanes
  std::vector<std::string> programs;  // its lines then, a heading first
  std::string
      filter;  // lanes (or programs) that have it in pool, source or destination; empty: all
  bool typing = false;  // of the filter
  bool timeline = true;
  TimelineStep step = TimelineStep::second;
  // The record that is gone back in, and its point that is looked at; null: now.
  std::shared_ptr<const HistoryReading> past;
  std::size_t at = 0;
};

// Looks at the timeline's column to the left (-1) or to the right, from now on where the view is
// not in the past yet. To the right of the last one is now.
void go(View& view, const Snapshot& snapshot, int steps);

struct Page {
  std::vector<Line> lines;          // at most `height`
  std::vector<LaneColumn> columns;  // of the lanes, as shown
  std::size_t page_size = 0;        // lanes (or lines of help) in sight
};

// For a screen of width x height cells, each at least 1. Cuts view.scroll to what there is.
Page draw_page(const Snapshot& snapshot, View& view, std::size_t width, std::size_t height);

// All of it without a screen: no keys, no limit of lanes.
Page draw_text(const Snapshot& snapshot, std::size_t width, const LaneOrder& order = {});

// The rows of a histogram by latency, at most `height` of them: each path's calls of the window.
std::vector<Line> draw_histogram(const Snapshot& snapshot, std::size_t width, std::size_t height);

}  // namespace portpool
