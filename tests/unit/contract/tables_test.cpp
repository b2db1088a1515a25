// The tables of names that become JSON keys and metric names.
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <set>

#include "portpool/counters.h"
#include "portpool/fallback.h"
#include "portpool/hints.h"
#include "portpool/results.h"

namespace portpool::test {
namespace {

bool is_metric_name(std::string_view name) {
  return !name.empty() && name.front() != '_' &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) {
           return std::islower(c) || std::isdigit(c) || c == '_';
         });
}

TEST(CounterTable, NamesAreDistinctAndFitForMetrics) {
  std::set<std::string_view> names;
  for (const CounterText& text : kCounterTexts) {
    EXPECT_TRUE(is_metric_name(text.name)) << text.name;
    EXPECT_TRUE(names.insert(text.name).second) << text.name;
    EXPECT_GT(text.help.size(), 10U) << text.name;
    EXPECT_FALSE(text.help.ends_with('.')) << text.name;
  }
}

TEST(CounterTable, IndexAndTextBelongTogether) {
  const auto name = [](Counter c) { return kCounterTexts[static_cast<std::size_t>(c)].name; };
  EXPECT_EQ(name(Counter::k_pool_ok), "pool_ok");
  EXPECT_EQ(name(Counter::k_rejections), "rejections");
  EXPECT_EQ(name(Counter::k_attaches), "attaches");
  EXPECT_LE(kCounters, std::size(Shard{}.counters));
}

TEST(ResultTable, EachPathHasACounterOfItsOwn) {
  const auto name = [](Route path, ConnectResult result) {
    return std::string(kCounterTexts[static_cast<std::size_t>(result_counter(path, result))].name);
  };
  EXPECT_EQ(name(Route::pool, ConnectResult::k_ok), "pool_ok");
  EXPECT_EQ(name(Route::kernel, ConnectResult::k_ok), "kernel_ok");
  std::set<std::string> names;
  for (std::size_t i = 0; i < kConnectResults; ++i) {
    std::string end(kResultTexts[i].name);
    std::transform(end.begin(), end.end(), end.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    EXPECT_EQ(name(Route::pool, static_cast<ConnectResult>(i)), "pool_" + end);
    EXPECT_EQ(name(Route::kernel, static_cast<ConnectResult>(i)), "kernel_" + end);
    EXPECT_TRUE(names.insert(end).second) << end;
  }
}

TEST(FallbackTable, NamesAreDistinctAndFitForMetrics) {
  std::set<std::string_view> names;
  std::set<std::string_view> sentences;
  for (const FallbackText& text : kFallbackTexts) {
    EXPECT_TRUE(is_metric_name(text.name)) << text.name;
    EXPECT_TRUE(names.insert(text.name).second) << text.name;
    EXPECT_TRUE(sentences.insert(text.sentence).second) << text.name;
    EXPECT_GT(text.sentence.size(), 10U) << text.name;
    EXPECT_FALSE(text.sentence.ends_with('.')) << text.name;
  }
}

TEST(FallbackTable, IndexAndTextBelongTogether) {
  const auto name = [](FallbackReason r) {
    return kFallbackTexts[static_cast<std::size_t>(r)].name;
  };
  EXPECT_EQ(name(FallbackReason::k_no_daemon), "no_daemon");
  EXPECT_EQ(name(FallbackReason::k_lane_full), "lane_full");
  EXPECT_EQ(name(FallbackReason::k_unusual_socket), "unusual_socket");
  EXPECT_LE(kFallbackReasons, std::size(Shard{}.fallbacks));
}

TEST(Control, PacksAndUnpacks) {
  for (const Mode mode : {Mode::pool, Mode::observe, Mode::ab}) {
    for (const Route arm : {Route::pool, Route::kernel}) {
      for (const Strategy strategy : {Strategy::port_range, Strategy::bind}) {
        const Control control = Control::unpack(Control{mode, arm, strategy}.pack());
        EXPECT_EQ(control.mode, mode);
        EXPECT_EQ(control.arm, arm);
        EXPECT_EQ(control.strategy, strategy);
      }
    }
  }
  EXPECT_EQ(Control::unpack(0).mode, Mode::pool);
}

}  // namespace
}  // namespace portpool::test
