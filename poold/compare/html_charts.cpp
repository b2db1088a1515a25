#include "compare/html_charts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/number_text.h"
#include "compare/interval_text.h"
#include "compare/svg.h"
#include "observe/quantile.h"

namespace portpool {
namespace {

// Blocks with fewer connects have no p99 worth a point.
constexpr std::uint64_t kFewestForP99 = 100;

struct Bounds {
  double low = 1e300;
  double high = -1e300;
  void take(double value) {
    if (!std::isfinite(value) || value <= 0) return;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  bool empty() const { return low > high; }
};

double odds(const QuantileRow& row) { return 1 / (1 - row.q); }

std::string percentile_name(double q) {
  return fmt::format("p{:.{}f}", q * 100, q < 0.9 ? 0 : q < 0.99 ? 1 : q < 0.999 ? 2 : 4);
}

void add_curve(Chart& chart, const Comparison& c, std::optional<Interval> QuantileRow::*arm,
               const char* css, const char* name) {
  std::vector<Point> middle;
  std::vector<Point> low;
  std::vector<Point> high;
  for (const QuantileRow& row : c.curve) {
    const std::optional<Interval>& at = row.*arm;
    if (!at) continue;
    middle.push_back({odds(row), at->value});
    low.push_back({odds(row), at->low});
    high.push_back({odds(row), at->high});
  }
  chart.band(low, high, css);
  chart.line(middle, css, name);
}

std::string curve_tip(const QuantileRow& row) {
  std::string tip = percentile_name(row.q);
  if (row.pool) tip += fmt::format("\npool: {} us", us_text(*row.pool));
  if (row.kernel) tip += fmt::format("\nkernel: {} us", us_text(*row.kernel));
  if (row.ratio) tip += fmt::format("\nkernel / pool: {}", ratio_text(*row.ratio));
  return tip;
}

std::string latency_words(const LatencySum& latency) {
  if (latency.count == 0) return "no connects";
  return fmt::format("{} connects, p50 {} us, p99 {} us", count_text(latency.count),
                     us_text(quantile_us(latency, 0.5)), us_text(quantile_us(latency, 0.99)));
}

std::string block_tip(const Block& block, bool two_arms) {
  std::string tip = fmt::format("{} {}{}", two_arms ? "block" : "slice", block.number,
                                two_arms ? std::string(", ") + name_of(block.arm) : "");
  if (block.paths.empty()) {
    tip += "\n" + latency_words(block.latency);
  } else {
    for (const Route path : {Route::pool, Route::kernel}) {
      tip += fmt::format("\n{}: {}", name_of(path), latency_words(block.path(path)));
    }
  }
  if (!std::isnan(block.occupancy)) tip += "\nports taken: " + percent_text(block.occupancy);
  return tip;
}

}  // namespace

std::string percentile_chart(const Comparison& c, const ChartSize& size) {
  Bounds us;
  for (const QuantileRow& row : c.curve) {
    for (const auto* arm : {&row.pool, &row.kernel}) {
      if (!*arm) continue;
      us.take((*arm)->low);
      us.take((*arm)->high);
    }
  }
  if (us.empty() || c.curve.size() < 2) return "";
  std::vector<Tick> ticks;
  const double last = odds(c.curve.back());
  for (const auto& [at, label] :
       {Tick{2, "p50"}, Tick{10, "p90"}, Tick{100, "p99"}, Tick{1e3, "p99.9"}, Tick{1e4, "p99.99"},
        Tick{1e5, "p99.999"}, Tick{1e6, "p99.9999"}}) {
    if (at <= last * 1.001) ticks.push_back({at, label});
  }
  Chart chart(size, "Latency of connect() by percentile", "percentile, on a scale of 1 / (1 - p)",
              "connect(), us", Axis::logarithmic(odds(c.curve.front()), last, ticks),
              Axis::logarithmic(us.low, us.high));
  add_curve(chart, c, &QuantileRow::kernel, "kernel", "kernel");
  add_curve(chart, c, &QuantileRow::pool, "pool", "pool");
  for (std::size_t i = 0; i < c.curve.size(); ++i) {
    const double here = odds(c.curve[i]);
    const double before = i == 0 ? here : odds(c.curve[i - 1]);
    const double after = i + 1 == c.curve.size() ? here : odds(c.curve[i + 1]);
    chart.strip(std::sqrt(before * here), std::sqrt(here * after), curve_tip(c.curve[i]));
  }
  return chart.svg();
}

std::string occupancy_chart(const Comparison& c, const ChartSize& size) {
  struct Tail {
    const Block* block;
    Route route;
    double p99_us;
  };
  std::vector<Tail> tails;
  const auto add = [&](const Block& block, Route route, const LatencySum& latency) {
    if (latency.count < kFewestForP99 || std::isnan(block.occupancy)) return;
    tails.push_back({&block, route, quantile_us(latency, 0.99)});
  };
  for (const Block& block : c.blocks) {
    if (block.paths.empty()) {
      add(block, block.arm, block.latency);
    } else {
      for (const Route path : {Route::pool, Route::kernel}) add(block, path, block.path(path));
    }
  }
  if (tails.empty()) return "";
  Bounds us;
  double low = 1;
  double high = 0;
  for (const Tail& tail : tails) {
    us.take(tail.p99_us);
    low = std::min(low, tail.block->occupancy);
    high = std::max(high, tail.block->occupancy);
  }
  // A scale of 20 points at least, so that noise does not look like a trend.
  const double middle = (low + high) / 2;
  low = std::max(0.0, std::min(low - 0.02, middle - 0.1)) * 100;
  high = std::min(1.0, std::max(high + 0.02, middle + 0.1)) * 100;
  Chart chart(size, "p99 of connect() in each block, by the share of ports taken",
              "ports taken, fullest lane", "p99 of the block, us",
              Axis::linear(low, high, round_ticks(low, high, size.ticks, " %")),
              Axis::logarithmic(us.low, us.high));
  if (low < 50 && high > 50) chart.upright(50, "half of the range");
  for (const Tail& tail : tails) {
    chart.mark({tail.block->occupancy * 100, tail.p99_us}, name_of(tail.route),
               block_tip(*tail.block, c.two_arms));
  }
  return chart.svg();
}

std::string difference_chart(const Comparison& c, const ChartSize& size) {
  if (c.differences.empty()) return "";
  Bounds ratio;
  ratio.take(1);
  for (const PairDifference& pair : c.differences) ratio.take(pair.ratio());
  const double end = std::max(1.0, c.differences.back().at_s * 1.03);
  Chart chart(size, "Ratio of the medians, kernel to pool, pair by pair",
              "seconds since the beginning", "kernel / pool (above 1: pool faster)",
              Axis::linear(0, end, round_ticks(0, end, size.ticks, "")),
              Axis::logarithmic(ratio.low, ratio.high));
  chart.level(1);
  for (const PairDifference& pair : c.differences) {
    chart.mark(
        {pair.at_s, pair.ratio()}, "pair",
        fmt::format("at {:.1f} s\npool: {} us, kernel: {} us\nkernel / pool: {}", pair.at_s,
                    us_text(pair.pool_us), us_text(pair.kernel_us), ratio_text(pair.ratio())));
  }
  return chart.svg();
}

std::string time_chart(const Comparison& c, const ChartSize& size) {
  struct Curve {
    Route path;
    double q;
    std::uint64_t fewest;
    const char* css;
    const char* name;
    std::vector<Point> points;
  };
  // Each path in its own colour, as everywhere on the page; p99 is the thin line.
  Curve curves[] = {{Route::kernel, 0.99, kFewestForP99, "kernel p99", "kernel p99", {}},
                    {Route::kernel, 0.5, kFewestConnects, "kernel", "kernel p50", {}},
                    {Route::pool, 0.99, kFewestForP99, "pool p99", "pool p99", {}},
                    {Route::pool, 0.5, kFewestConnects, "pool", "pool p50", {}}};
  Bounds us;
  for (Curve& curve : curves) {
    for (const Block& block : c.blocks) {
      const LatencySum& latency = block.path(curve.path);
      if (latency.count < curve.fewest) continue;
      curve.points.push_back({block.start_s + block.length_s / 2, quantile_us(latency, curve.q)});
      us.take(curve.points.back().y);
    }
  }
  if (us.empty()) return "";
  const double end = c.blocks.back().start_s + c.blocks.back().length_s;
  Chart chart(size, "Median and p99 of connect() as time goes by", "seconds since the beginning",
              "connect(), us", Axis::linear(0, end, round_ticks(0, end, size.ticks, "")),
              Axis::logarithmic(us.low, us.high));
  for (const Curve& curve : curves) {
    // A line of one point would not be seen, and its name stand for nothing.
    if (curve.points.size() > 1) chart.line(curve.points, curve.css, curve.name);
  }
  for (const Block& block : c.blocks) {
    chart.strip(block.start_s, block.start_s + block.length_s, block_tip(block, false));
  }
  return chart.svg();
}

}  // namespace portpool
