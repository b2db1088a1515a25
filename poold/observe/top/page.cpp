#include "observe/top/page.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <optional>
#include <span>

#include "base/text.h"
#include "observe/quantile.h"

namespace portpool {
namespace {

struct HelpLine {
  const char* full;
  const char* brief;  // for narrow screens
};
constexpr HelpLine kHelp[] = {
    {"q        quit", "q quit"},
    {"s        sort by the next column", "s sort by next column"},
    {"< >      sort by the column to the left, right", "< > by left, right"},
    {"r        reverse the order", "r reverse"},
    {"/        only lanes with this in pool, source or destination", "/ filter"},
    {"up down  scroll the lanes (also PgUp PgDn Home End)", "arrows scroll"},
    {"c        the programs under the library in place of the lanes", "c programs"},
    {"left, right  what happened then; End or Esc: back to now", "left right: then"},
    {"z        timeline by 1 s, 10 s, 1 min: an hour at most", "z zoom"},
    {"t        timeline on, off", "t timeline"},
    {"g        latency histogram on, off", "g histogram"},
    {"p        pause, go on", "p pause"},
    {"h        this help on, off", "h help"},
    {"", ""},
    {"Rates are of the last interval, latencies of the last 10 s.", "rates: last moment"},
    {"USED% of a lane's ports cannot be claimed: in use, waiting, blocked.", "latencies: 10 s"},
    {"CONN/S: connects in the last 10 s; one in eight is counted.", "conn/s: last 10 s"},
    {"TO HALF: until that is half of them, at the rate of the last 10 s.", "to half: in time"},
    {"More: docs/watching.md", "docs/watching.md"},
};
constexpr std::size_t kFullHelpWidth = 70;

double per_second(const Snapshot& snapshot, std::uint64_t count) {
  return snapshot.seconds > 0 ? static_cast<double>(count) / snapshot.seconds : 0;
}

std::string rate(const Snapshot& snapshot, std::uint64_t count) {
  return short_rate(per_second(snapshot, count));
}

// `left`, and `right` at the right edge if both fit.
Line spread(Line left, const Span& right, std::size_t width) {
  const std::size_t used = width_of(left) + right.text.size();
  if (right.text.empty() || used + 2 > width) return left;
  left.push_back({Style::plain, std::string(width - used, ' ')});
  left.push_back(right);
  return left;
}

Line health(const Snapshot& s, const View& view, std::size_t width) {
  Span state{Style::good, fmt::format("alive, heartbeat {:.1f}s ago",
                                      static_cast<double>(s.now.heartbeat_age_ms) / 1000)};
  if (!s.alive) {
    state = {Style::bad,
             fmt::format("{} {} ago", s.now.stopped ? "stopped" : "stopped: last heartbeat",
                         short_age(s.silent_s))};
  }
  Span paused{Style::chosen, view.paused ? "PAUSED" : ""};
  if (view.past) {
    const HistoryPoint& point = view.past->points()[view.at];
    paused.text = "AT " + clock_text(point.at_ns, view.past->points().back().at_ns);
  }
  const Line name{{Style::title, fmt::format("poold {}", printable(s.now.version))},
                  {Style::plain, fmt::format("  pid {}, up {}  ", s.now.pid,
                                             short_age(static_cast<double>(s.now.uptime_s)))}};
  Line full = name;
  full.push_back(state);
  if (width_of(full) <= width) return spread(full, paused, width);
  const std::string age =
      s.alive ? fmt::format("alive {:.1f}s", static_cast<double>(s.now.heartbeat_age_ms) / 1000)
              : "stopped " + short_age(s.silent_s);
  return spread({{Style::title, "poold "}, {state.style, age}}, paused, width);
}

Line settings(const Snapshot& s, const View& view, std::size_t width) {
  const double cpu =
      s.seconds > 0 ? static_cast<double>(s.moment.reconcile_cpu_ns) / s.seconds / 1e7 : 0;
  const std::string parts[] = {
      fmt::format("mode {} ({})", name_of(s.now.control.mode), name_of(s.now.control.strategy)),
      fmt::format("ports {}-{}", s.now.port_low, s.now.port_high),
      fmt::format("{} attached", s.now.clients),
      view.past ? "" : fmt::format("reconcile {:.1f}% CPU", cpu)};
  std::string text = parts[0];
  for (const std::string& part : std::span(parts).subspan(1)) {
    if (text.size() + 2 + part.size() <= width) text += "  " + part;
  }
  return {{Style::dim, text}};
}

std::uint64_t sum(const std::array<std::uint64_t, kFallbackReasons>& counts) {
  std::uint64_t total = 0;
  for (const std::uint64_t n : counts) total += n;
  return total;
}

Line rates(const Snapshot& s, std::size_t width) {
  const auto part = [&](const char* name, std::uint64_t count, Style style) {
    return Line{{Style::dim, fmt::format("{} ", name)},
                {count == 0 ? Style::plain : style, rate(s, count)}};
  };
  const std::uint64_t failed = s.moment.result(ConnectResult::k_eaddrnotavail);
  const Line parts[] = {
      part("pool", s.moment.path(Route::pool).count, Style::good),
      part("kernel", s.moment.path(Route::kernel).count, Style::warn),
      part("fallbacks", sum(s.moment.fallbacks), Style::warn),
      part("rejections", s.moment.counter(Counter::k_rejections), Style::warn),
      part("EADDRNOTAVAIL", failed, Style::bad),
  };
  Line line{{Style::heading, width >= 44 ? "connects/s" : "/s"}};
  for (const Line& p : parts) {
    const std::size_t gap = width >= 100 ? 3 : width >= 44 ? 2 : 1;
    if (width_of(line) + gap + width_of(p) > width) break;
    line.push_back({Style::plain, std::string(gap, ' ')});
    line.insert(line.end(), p.begin(), p.end());
  }
  return line;
}

using Counts = std::vector<std::pair<std::uint64_t, std::string>>;

// The commonest first; empty when there are none.
Line counts_line(const char* what, Counts counts, double seconds, Style style, std::size_t width) {
  if (counts.empty()) return {};
  std::sort(counts.rbegin(), counts.rend());
  Line line{{Style::dim, fmt::format("{} in {:.0f}s:", what, seconds)}};
  for (const auto& [count, name] : counts) {
    const std::string text = fmt::format("  {} {}", name, short_count(count));
    if (width_of(line) + text.size() > width) break;
    line.push_back({style, text});
  }
  return line;
}

Line reasons(const Snapshot& s, std::size_t width) {
  Counts found;
  for (std::size_t i = 0; i < kFallbackReasons; ++i) {
    const std::uint64_t count = s.window.fallbacks[i];
    if (count != 0) found.emplace_back(count, kFallbackTexts[i].name);
  }
  return counts_line("fallbacks", std::move(found), s.window_seconds, Style::warn, width);
}

Line failures(const Snapshot& s, std::size_t width) {
  Counts found;
  for (std::size_t i = 0; i < kConnectResults; ++i) {
    const auto result = static_cast<ConnectResult>(i);
    if (!is_failure(result)) continue;
    const std::uint64_t count = s.window.result(result);
    if (count != 0) found.emplace_back(count, kResultTexts[i].name);
  }
  return counts_line("failures", std::move(found), s.window_seconds, Style::bad, width);
}

// ---- latency table

struct Quantile {
  const char* name;
  double q;
};
constexpr Quantile kQuantiles[] = {
    {"P50", 0.5}, {"P90", 0.9}, {"P99", 0.99}, {"P99.9", 0.999}, {"MAX", 1}};
constexpr std::size_t kRouteWidth = 6;
constexpr std::size_t kCellWidth = 8;

// The record knows no longest call.
bool is_shown(const Quantile& quantile, std::size_t width, bool by_path) {
  if (by_path && quantile.q == 1) return false;
  if (width >= 62) return true;
  if (quantile.q == 0.5 || quantile.q == 0.99) return true;
  return quantile.q == 1 && width >= 46;
}

// The record knows paths alone.
std::vector<Line> latency_table(const Snapshot& s, std::size_t width, bool by_path) {
  const bool with_kind = width >= 75 && !by_path;
  const bool with_arm = width >= 40 && !by_path;
  const std::size_t cell = width >= 36 ? kCellWidth : 7;
  std::string heading = with_arm ? fmt::format("{:<{}} ", "ARM", kRouteWidth) : "";
  heading += fmt::format("{:<{}}", "PATH", kRouteWidth);
  if (with_kind) heading += fmt::format(" {:<12}", "CALL");
  heading += fmt::format("{:>{}}", "CALLS", cell);
  for (const Quantile& q : kQuantiles) {
    if (is_shown(q, width, by_path)) heading += fmt::format("{:>{}}", q.name, cell);
  }
  if (width >= 75) heading += "  us";
  std::vector<Line> lines{{{Style::heading, heading}}};
  for (const LatencyReport& part : s.window.latency) {
    if (part.latency.count == 0) continue;
    std::string text = with_arm ? fmt::format("{:<{}} ", name_of(part.arm), kRouteWidth) : "";
    text += fmt::format("{:<{}}", name_of(part.path), kRouteWidth);
    if (with_kind) text += fmt::format(" {:<12}", part.blocking ? "blocking" : "non-blocking");
    text += fmt::format("{:>{}}", short_count(part.latency.count), cell);
    for (const Quantile& q : kQuantiles) {
      if (!is_shown(q, width, by_path)) continue;
      text += fmt::format("{:>{}}", short_us(quantile_us(part.latency, q.q)), cell);
    }
    lines.push_back({{Style::plain, text}});
  }
  if (lines.size() == 1) {
    if (by_path) return {lines.front(), {{Style::dim, "no connects at that time"}}};
    lines.push_back({{Style::dim, s.seconds > 0 ? fmt::format("no connects in the last {:.0f}s",
                                                              std::max(1.0, s.window_seconds))
                                                : "reading..."}});
  }
  return lines;
}

// ---- putting it together

class Composer {
 public:
  Composer(const Snapshot& snapshot, View& view, std::size_t width, std::size_t height)
      : s_(snapshot), view_(view), width_(width), height_(height) {}

  Page compose() {
    const bool hints = height_ >= 8;
    const std::size_t bottom = hints ? 1 : 0;
    add(health(s_, view_, width_));
    if (view_.help) {
      add_help(room(bottom));
    } else {
      add_figures(bottom);
      view_.lists_programs ? add_programs(room(bottom)) : add_lanes(room(bottom));
    }
    if (hints) add_hints();
    return std::move(page_);
  }

  Page compose_text() {
    add(health(s_, view_, width_));
    add_figures(0);
    add_lanes(room(0));
    return std::move(page_);
  }

 private:
  std::size_t room(std::size_t reserved) const {
    const std::size_t used = page_.lines.size() + reserved;
    return height_ > used ? height_ - used : 0;
  }
  void add(const Line& line) {
    if (page_.lines.size() < height_) page_.lines.push_back(clipped(line, width_));
  }
  void add_gap() {
    if (height_ >= 20) add({});
  }

  void add_figures(std::size_t bottom) {
    if (height_ >= 16) add(settings(s_, view_, width_));
    if (height_ >= 2) add(rates(s_, width_));
    if (height_ >= 12) {
      for (const Line& why : {reasons(s_, width_), failures(s_, width_)}) {
        if (!why.empty()) add(why);
      }
    }
    constexpr std::size_t kLeastLanes = 3;
    if (height_ >= 10) {
      const std::vector<Line> table = latency_table(s_, width_, view_.past != nullptr);
      add_gap();
      for (const Line& line : table) {
        if (room(bottom) > kLeastLanes) add(line);
      }
    }
    // It needs the place of some lanes, and on most screens the histogram needs it too.
    constexpr std::size_t kForBoth = 36;
    if (view_.timeline && height_ >= (view_.histogram ? kForBoth : 22)) add_timeline();
    if (!view_.histogram) return;
    // On a small screen the histogram takes the place of the lanes.
    const std::size_t left = room(bottom);
    const std::size_t gap = height_ >= 20 ? 1 : 0;
    add_gap();
    const std::size_t most = left >= 14 ? left - kLeastLanes - 3 - gap : left - std::min(gap, left);
    for (const Line& line : draw_histogram(s_, width_, std::min<std::size_t>(most, 15))) add(line);
  }

  void add_timeline() {
    const HistoryReading& history = view_.past ? *view_.past : *s_.history;
    const auto at = view_.past ? std::optional(view_.at) : std::nullopt;
    const std::vector<Line> lines = draw_timeline(history, view_.step, at, width_);
    if (lines.empty()) return;
    add_gap();
    for (const Line& line : lines) add(line);
  }

  // `rows` things of `total` in sight: the first one, with view_.scroll cut to it.
  std::size_t scrolled(std::size_t total, std::size_t rows) {
    page_.page_size = rows;
    view_.scroll = std::min(view_.scroll, total > rows ? total - rows : 0);
    return view_.scroll;
  }

  void add_help(std::size_t rows) {
    const std::size_t first = scrolled(std::size(kHelp), rows);
    for (std::size_t i = first; i < std::size(kHelp) && i < first + rows; ++i) {
      add({{Style::plain, width_ >= kFullHelpWidth ? kHelp[i].full : kHelp[i].brief}});
    }
  }

  // An empty line above a table, where there is room. False: no room for the table.
  bool begin_table(std::size_t& rows) {
    if (rows < 2) return false;
    if (height_ >= 20) {
      add({});
      --rows;
    }
    return true;
  }

  void add_programs(std::size_t rows) {
    if (!begin_table(rows) || view_.programs.empty()) return;
    add({{Style::heading, view_.programs.front()}});
    --rows;
    std::vector<std::string> lines;
    for (std::size_t i = 1; i < view_.programs.size(); ++i) {
      const std::string line = printable(view_.programs[i]);
      if (line.find(view_.filter) != line.npos) lines.push_back(line);
    }
    const std::size_t first = scrolled(lines.size(), rows);
    for (std::size_t i = first; i < lines.size() && i < first + rows; ++i) {
      add({{Style::plain, lines[i]}});
    }
  }

  void add_lanes(std::size_t rows) {
    if (!begin_table(rows)) return;
    std::vector<LaneReport> lanes =
        view_.filter.empty() ? s_.now.lanes : filtered(s_.now.lanes, view_.filter);
    const LanesView table(std::move(lanes), width_, view_.order, true);
    page_.columns = table.columns();
    of_all_ = s_.now.lanes.size();
    if (table.size() == 0 && of_all_ != 0) {
      add({{Style::dim, fmt::format("none of {} lane{} has \"{}\" in it", of_all_,
                                    of_all_ == 1 ? "" : "s", printable(view_.filter))}});
      return;
    }
    if (table.size() == 0) {
      add({{Style::dim, "no lane yet: no program under the shim has connected anywhere"}});
      return;
    }
    add(table.heading());
    --rows;
    const std::size_t first = scrolled(table.size(), rows);
    for (std::size_t i = first; i < table.size() && i < first + rows; ++i) add(table.row(i));
    shown_ = {first + 1, std::min(table.size(), first + rows), table.size()};
  }

  void add_hints() {
    if (page_.lines.size() < height_ - 1) page_.lines.resize(height_ - 1);
    Line keys{{Style::dim, "q quit  s sort  / filter  left: back  z zoom  h help"}};
    if (view_.lists_programs) keys = {{Style::dim, "q quit  c lanes  / filter  h help"}};
    if (view_.past) {
      keys = {{Style::chosen, "left right: other moments  End: now"},
              {Style::dim, "  z zoom  q quit  h help"}};
    } else if (!view_.filter.empty()) {
      keys = {{Style::dim, "Esc: all lanes  q quit  h help"}};
    }
    if (width_ < 60) keys = {{Style::dim, view_.past ? "End: now  q quit" : "q quit  h help"}};
    if (view_.typing) {
      keys = {{Style::plain, "/" + printable(view_.filter)},
              {Style::chosen, " "},
              {Style::dim, "  Enter: keep  Esc: all lanes"}};
    }
    Span position{Style::dim, ""};
    if (shown_.total != 0) {
      position.text =
          shown_.last - shown_.first + 1 == shown_.total
              ? fmt::format("{} lane{}", shown_.total, shown_.total == 1 ? "" : "s")
              : fmt::format("lanes {}-{} of {}", shown_.first, shown_.last, shown_.total);
    }
    if (!view_.filter.empty()) {
      position.text += fmt::format("{}of {}, /{}", position.text.empty() ? "none " : " ", of_all_,
                                   shortened(printable(view_.filter), 20));
    }
    add(spread(keys, position, width_));
  }

  struct Shown {
    std::size_t first = 0;
    std::size_t last = 0;
    std::size_t total = 0;
  };

  const Snapshot& s_;
  View& view_;
  std::size_t width_;
  std::size_t height_;
  Page page_;
  Shown shown_;
  std::size_t of_all_ = 0;  // lanes, before the filter
};

}  // namespace

namespace {

// What a screen would have shown at the moment that is looked at.
Snapshot snapshot_then(const Snapshot& snapshot, const View& view) {
  const HistoryReading& history = *view.past;
  const auto columns = timeline_columns(history, view.step);
  const TimelineColumn column = columns[column_of(columns, view.at)];
  const Happened happened = history.between(column.from, column.to);
  Snapshot then = snapshot;
  then.now.lanes = happened.report.lanes;
  then.now.control = happened.report.control;
  then.now.clients = happened.report.clients;
  then.moment = then.window = happened.report;
  then.seconds = then.window_seconds = std::max(happened.seconds, 0.001);
  return then;
}

}  // namespace

void go(View& view, const Snapshot& snapshot, int steps) {
  const auto& history = view.past ? view.past : snapshot.history;
  if (history->empty()) return;
  const auto columns = timeline_columns(*history, view.step);
  const auto last = static_cast<std::ptrdiff_t>(columns.size()) - 1;
  // From now, the last column is one step to the left.
  const std::ptrdiff_t from =
      view.past ? static_cast<std::ptrdiff_t>(column_of(columns, view.at)) : last + 1;
  const std::ptrdiff_t to = std::max<std::ptrdiff_t>(from + steps, 0);
  if (to > last) {
    view.past.reset();
    return;
  }
  view.past = history;
  view.at = columns[static_cast<std::size_t>(to)].to;
}

Page draw_page(const Snapshot& snapshot, View& view, std::size_t width, std::size_t height) {
  if (!view.past) return Composer(snapshot, view, width, height).compose();
  const Snapshot then = snapshot_then(snapshot, view);
  return Composer(then, view, width, height).compose();
}

Page draw_text(const Snapshot& snapshot, std::size_t width, const LaneOrder& order) {
  View view;
  view.order = order;
  view.timeline = false;
  // Enough for all lanes and what stands above them.
  return Composer(snapshot, view, width, snapshot.now.lanes.size() + 40).compose_text();
}

}  // namespace portpool
