// What top shows, at any size: pages are drawn from made-up figures, without a terminal.
#include "observe/top/page.h"

#include <gtest/gtest.h>

#include <limits>

namespace portpool::test {
namespace {

LaneReport lane(const char* destination, std::uint16_t port, std::uint32_t free) {
  LaneReport report;
  in6_addr raw{};
  inet_pton(AF_INET6, destination, &raw);
  report.key = {address_from_v6(raw), address_from_v6(raw), port};
  report.pool = "default";
  report.counts.capacity = 1000;
  report.counts.free = free;
  report.counts.in_use = 1000 - free;
  return report;
}

Snapshot snapshot() {
  Snapshot s;
  s.alive = true;
  s.now.pid = 4711;
  s.now.version = "1.2.3";
  s.now.lanes = {lane("::ffff:10.0.0.10", 80, 500), lane("::ffff:10.0.0.9", 443, 10),
                 lane("2001:db8:1111:2222:3333:4444:5555:6666", 8080, 1000)};
  s.seconds = 2;
  s.window_seconds = 10;
  for (std::size_t i = 0; i < kHistograms; ++i) {
    s.now.latency[i] = {
        static_cast<Route>(i >> 2 & 1), static_cast<Route>(i >> 1 & 1), (i & 1) != 0, {}};
  }
  s.moment.latency = s.window.latency = s.now.latency;
  const auto add = [](LatencySum& sum, std::uint64_t ns, std::uint64_t n) {
    sum.buckets[latency_bucket(ns)] += n;
    sum.count += n;
    sum.max_ns = std::max(sum.max_ns, ns);
  };
  const std::size_t pool = histogram_index(Route::pool, Route::pool, true);
  const std::size_t kernel = histogram_index(Route::pool, Route::kernel, false);
  add(s.moment.latency[pool].latency, 20'000, 400);
  add(s.window.latency[pool].latency, 20'000, 2000);
  add(s.window.latency[pool].latency, 3'000'000, 1);
  add(s.window.latency[kernel].latency, 900'000, 50);
  s.window.fallbacks[static_cast<std::size_t>(FallbackReason::k_no_lane)] = 50;
  return s;
}

std::string text_of(const Line& line) {
  std::string text;
  for (const Span& span : line) text += span.text;
  return text;
}

std::string text_of(const Page& page) {
  std::string text;
  for (const Line& line : page.lines) text += text_of(line) + "\n";
  return text;
}

std::string draw(const Snapshot& s, View view, std::size_t width, std::size_t height) {
  return text_of(draw_page(s, view, width, height));
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(TopPage, FitsAnyScreen) {
  const Snapshot full = snapshot();
  Snapshot bare;
  bare.now.latency = bare.window.latency = bare.moment.latency = full.now.latency;
  for (const Snapshot* s : {&full, static_cast<const Snapshot*>(&bare)}) {
    for (std::size_t width = 1; width <= 140; ++width) {
      for (std::size_t height = 1; height <= 60; ++height) {
        for (int choice = 0; choice < 4; ++choice) {
          View view;
          view.histogram = (choice & 1) != 0;
          view.help = (choice & 2) != 0;
          view.scroll = 1000;
          const Page page = draw_page(*s, view, width, height);
          ASSERT_LE(page.lines.size(), height) << width;
          for (const Line& line : page.lines) ASSERT_LE(width_of(line), width) << height;
        }
      }
    }
  }
}

TEST(TopPage, TheSmallestOneTellsHealthRateAndFullestLane) {
  const std::string page = draw(snapshot(), {}, 20, 5);
  EXPECT_TRUE(has(page, "alive")) << page;
  EXPECT_TRUE(has(page, "pool 200")) << page;
  EXPECT_TRUE(has(page, "10.0.0.9:443")) << page;
  EXPECT_TRUE(has(page, "99.0")) << page;
}

TEST(TopPage, AWideOneTellsEverything) {
  const std::string page = draw(snapshot(), {}, 160, 50);
  for (const char* part :
       {"poold 1.2.3", "pid 4711", "alive, heartbeat", "mode pool (port-range)", "pool 200",
        "fallbacks in 10s:  no_lane 50", "P99.9", "non-blocking", "2001", "POOL", "REJECTED",
        "[2001:db8:1111:2222:3333:4444:5555:6666]:8080", "3 lanes", "q quit"}) {
    EXPECT_TRUE(has(page, part)) << part << "\n" << page;
  }
}

TEST(TopPage, FailuresAreNamed) {
  Snapshot s = snapshot();
  EXPECT_FALSE(has(draw(s, {}, 80, 24), "failures in"));
  s.window.counters[static_cast<std::size_t>(Counter::k_pool_econnrefused)] = 7;
  s.window.counters[static_cast<std::size_t>(Counter::k_kernel_econnrefused)] = 1;
  s.window.counters[static_cast<std::size_t>(Counter::k_kernel_etimedout)] = 90;
  s.window.counters[static_cast<std::size_t>(Counter::k_pool_ok)] = 1000;
  EXPECT_TRUE(has(draw(s, {}, 80, 24), "failures in 10s:  ETIMEDOUT 90  ECONNREFUSED 8"));
}

TEST(TopPage, ADeadDaemonIsStoppedWithItsAge) {
  Snapshot s = snapshot();
  s.alive = false;
  s.silent_s = 75;
  EXPECT_TRUE(has(draw(s, {}, 80, 24), "stopped: last heartbeat 1m15s ago"));
  EXPECT_TRUE(has(draw(s, {}, 20, 5), "stopped 1m15s"));
  s.now.stopped = true;
  EXPECT_TRUE(has(draw(s, {}, 80, 24), "stopped 1m15s ago"));
}

TEST(TopPage, LanesAreSortedByAnyColumn) {
  const auto first = [](LaneColumn column, bool reversed) {
    const LanesView lanes(snapshot().now.lanes, 132, {column, reversed});
    return text_of(lanes.row(0));
  };
  EXPECT_TRUE(has(first(LaneColumn::used, false), "10.0.0.9:443"));
  EXPECT_TRUE(has(first(LaneColumn::used, true), "2001:db8"));
  EXPECT_TRUE(has(first(LaneColumn::free, false), "2001:db8"));
  EXPECT_TRUE(has(first(LaneColumn::in_use, false), "10.0.0.9:443"));
  // 10.0.0.9 before 10.0.0.10: by number, not by text.
  EXPECT_TRUE(has(first(LaneColumn::destination, false), "10.0.0.9:443"));
  EXPECT_TRUE(has(first(LaneColumn::destination, true), "2001:db8"));
}

TEST(TopPage, TheColumnOfTheOrderIsMarkedWithoutColour) {
  View view;
  EXPECT_TRUE(has(draw(snapshot(), view, 80, 24), "USED%v "));
  view.order.reversed = true;
  EXPECT_TRUE(has(draw(snapshot(), view, 80, 24), "USED%^ "));
  view.order = {LaneColumn::destination, false};
  EXPECT_TRUE(has(draw(snapshot(), view, 80, 24), "DESTINATION^ "));
  // status tells the order by its option.
  const LanesView once(snapshot().now.lanes, 80, {});
  EXPECT_FALSE(has(text_of(once.heading()), "USED%v"));
}

TEST(TopPage, TimeToHalf) {
  Snapshot s = snapshot();
  EXPECT_FALSE(has(draw(s, {}, 132, 24), "TO HALF")) << "nobody has watched";
  s.now.lanes[0].to_half = 190;
  s.now.lanes[1].to_half = 0;
  s.now.lanes[2].to_half = std::numeric_limits<double>::infinity();
  View view;
  view.order = {LaneColumn::to_half, false};
  const std::string page = draw(s, view, 132, 24);
  EXPECT_TRUE(has(page, "TO HALF^")) << page;
  EXPECT_TRUE(has(page, "3m10s")) << page;
  EXPECT_LT(page.find("10.0.0.9:443"), page.find("10.0.0.10:80"));
  EXPECT_LT(page.find("over"), page.find("3m10s"));
  EXPECT_EQ(lane_column("to_half"), std::nullopt);
  EXPECT_EQ(lane_column("to_half", LaneColumns::watched), LaneColumn::to_half);
}

TEST(TopPage, ConnectsASecond) {
  Snapshot s = snapshot();
  EXPECT_FALSE(has(draw(s, {}, 132, 24), "CONN/S")) << "nobody has watched";
  for (std::size_t i = 0; i < s.now.lanes.size(); ++i) {
    s.now.lanes[i].to_half = 0;
    s.now.lanes[i].connect_rate = i == 1 ? 1234.5 : 0.0;
  }
  View view;
  view.order = {LaneColumn::connect_rate, false};
  for (const std::size_t width : {std::size_t{80}, std::size_t{132}}) {
    const std::string page = draw(s, view, width, 24);
    EXPECT_TRUE(has(page, "CONN/Sv")) << page;
    EXPECT_TRUE(has(page, short_rate(1234.5))) << page;
    const std::string first = to_text(destination_of(s.now.lanes[1].key));
    EXPECT_LT(page.find(first), page.find(to_text(destination_of(s.now.lanes[0].key)))) << page;
  }
  EXPECT_EQ(lane_column("conn/s", LaneColumns::watched), LaneColumn::connect_rate);
}

TEST(TopPage, AFilterLooksAtPoolSourceAndDestination) {
  Snapshot s = snapshot();
  s.now.lanes[1].pool = "Edge";
  View view;
  view.filter = "eDGE";
  EXPECT_TRUE(has(draw(s, view, 80, 24), "10.0.0.9:443"));
  EXPECT_FALSE(has(draw(s, view, 80, 24), "10.0.0.10:80"));
  EXPECT_TRUE(has(draw(s, view, 80, 24), "1 lane of 3, /eDGE"));
  view.filter = ":80";
  EXPECT_EQ(filtered(s.now.lanes, view.filter).size(), 2U);
  view.filter = "nothing";
  view.typing = true;
  EXPECT_TRUE(has(draw(s, view, 80, 24), "none of 3 lanes has \"nothing\" in it"));
  EXPECT_TRUE(has(draw(s, view, 80, 24), "/nothing "));
  for (std::size_t width = 1; width <= 140; ++width) {
    for (const Line& line : draw_page(s, view, width, 24).lines) EXPECT_LE(width_of(line), width);
  }
}

TEST(TopPage, NeighbourGoesRoundAmongWhatIsShown) {
  const std::vector<LaneColumn> shown{LaneColumn::destination, LaneColumn::used, LaneColumn::free};
  EXPECT_EQ(neighbour(shown, LaneColumn::used, 1), LaneColumn::free);
  EXPECT_EQ(neighbour(shown, LaneColumn::free, 1), LaneColumn::destination);
  EXPECT_EQ(neighbour(shown, LaneColumn::destination, -1), LaneColumn::free);
  EXPECT_EQ(neighbour(shown, LaneColumn::pool, 1), LaneColumn::destination);
  EXPECT_EQ(neighbour({}, LaneColumn::used, 1), LaneColumn::used);
}

TEST(TopPage, ScrollingEndsWithTheLastLane) {
  Snapshot s = snapshot();
  for (std::uint16_t port = 1; port <= 100; ++port) {
    s.now.lanes.push_back(lane("::ffff:192.0.2.1", port, 900));
  }
  View view;
  view.scroll = 1'000'000;
  const Page page = draw_page(s, view, 80, 24);
  EXPECT_EQ(view.scroll, 103 - page.page_size);
  EXPECT_TRUE(has(text_of(page), "of 103")) << text_of(page);
  EXPECT_TRUE(has(text_of(page), "2001:db8"));  // all free: sorted last
}

TEST(TopPage, HistogramHasARowForEachDoublingAndBarsInProportion) {
  const std::vector<Line> lines = draw_histogram(snapshot(), 80, 15);
  // 16.4 us to 2 ms in doublings: 8 rows and the heading.
  ASSERT_EQ(lines.size(), 9U);
  EXPECT_TRUE(has(text_of(lines[0]), "POOL 2001"));
  EXPECT_TRUE(has(text_of(lines[0]), "KERNEL 50"));
  const auto bar = [](const Line& line, int nth) -> std::size_t {
    for (const Span& span : line) {
      if (span.style == Style::bar && nth-- == 0) return span.text.size();
    }
    return 0;
  };
  EXPECT_GT(bar(lines[1], 0), 20U);     // nearly all of the pool's
  EXPECT_EQ(bar(lines.back(), 0), 1U);  // one call shows as well
  EXPECT_EQ(bar(lines[1], 1), 0U);      // none of the kernel's
  EXPECT_GT(bar(lines[6], 1), 20U);     // 524 us to 1 ms: all of the kernel's
  EXPECT_TRUE(has(text_of(lines[1]), "16.4"));
  for (const Line& line : lines) EXPECT_LE(width_of(line), 80U);
  EXPECT_EQ(draw_histogram(snapshot(), 80, 4).size(), 4U);  // rows are joined
}

TEST(TopText, ShortForms) {
  EXPECT_EQ(short_rate(0), "0");
  EXPECT_EQ(short_rate(7.34), "7.3");
  EXPECT_EQ(short_rate(12345), "12345");
  EXPECT_EQ(short_rate(123'456), "123k");
  EXPECT_EQ(short_rate(1'234'567), "1.2M");
  EXPECT_EQ(short_count(99'999), "99999");
  EXPECT_EQ(short_us(26.1), "26.1");
  EXPECT_EQ(short_us(1758), "1758");
  EXPECT_EQ(short_us(163'000), "163ms");
  EXPECT_EQ(short_us(17'200'000), "17.2s");
  EXPECT_EQ(short_age(59), "59s");
  EXPECT_EQ(short_age(723), "12m03s");
  EXPECT_EQ(short_age(11'100), "3h05m");
  EXPECT_EQ(short_age(187'200), "2d04h");
  EXPECT_EQ(shortened("127.0.0.1:9001", 13), "127.0.~1:9001");
  EXPECT_EQ(shortened("abc", 13), "abc");
}

}  // namespace
}  // namespace portpool::test
