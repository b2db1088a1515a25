// From measured blocks to verdict, text, JSON and page.
#include "compare/comparison.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/number_text.h"
#include "unit/compare/made_trial.h"

namespace portpool::test {
namespace {

TEST(ComparisonTest, ManyTimesFaster) {
  const Comparison c = compare(trial_of(15, {5}, {1000}), true);
  EXPECT_EQ(c.verdict, Verdict::pool_faster);
  EXPECT_TRUE(contains(c.sentence, "times as fast with the pool")) << c.sentence;
  EXPECT_TRUE(contains(c.sentence, "p < 0.001")) << c.sentence;
  ASSERT_TRUE(c.quantiles[0].ratio);
  EXPECT_NEAR(c.quantiles[0].ratio->value, 200, 10);
  EXPECT_LE(c.quantiles[0].ratio->low, c.quantiles[0].ratio->value);
  EXPECT_GE(c.quantiles[0].ratio->high, c.quantiles[0].ratio->value);
  EXPECT_TRUE(contains(c.tail, "At p99 it is")) << c.tail;
}

TEST(ComparisonTest, ALittleSlowerIsSaidAsPercentAndTime) {
  const Comparison c = compare(trial_of(15, {11}, {10}), true);
  EXPECT_EQ(c.verdict, Verdict::pool_slower);
  EXPECT_TRUE(contains(c.sentence, "more time with the pool")) << c.sentence;
  EXPECT_TRUE(contains(c.sentence, " us) more")) << c.sentence;
}

TEST(ComparisonTest, ALittleFasterIsSaidAsPercentAndTime) {
  const Comparison c = compare(trial_of(15, {10}, {11}), true);
  EXPECT_EQ(c.verdict, Verdict::pool_faster);
  EXPECT_TRUE(contains(c.sentence, " us) less time with the pool")) << c.sentence;
}

// Load that rises tenfold from the first pair to the last: within each pair the pool is always the
// faster one, though most of the kernel's early blocks are faster than the pool's late ones.
TEST(ComparisonTest, PairsAreTestedAsPairs) {
  Trial trial = trial_of(12, {10}, {11}, 0);
  for (std::size_t i = 0; i < trial.blocks.size(); ++i) {
    LatencySum& latency = trial.blocks[i].latency;
    const std::size_t shift = i / 2 * 10;  // buckets: 32 are a doubling
    std::rotate(latency.buckets.begin(), latency.buckets.end() - static_cast<std::ptrdiff_t>(shift),
                latency.buckets.end());
    latency.max_ns *= 16;
  }
  const Comparison c = compare(trial, true);
  EXPECT_EQ(c.medians.w, 12 * 13 / 2) << "in every pair";
  EXPECT_DOUBLE_EQ(c.medians.p, 2.0 / 4096);
}

TEST(ComparisonTest, NoDifference) {
  const Comparison c = compare(trial_of(15, {10}, {10}, 0.2), true);
  EXPECT_EQ(c.verdict, Verdict::no_difference);
  EXPECT_TRUE(contains(c.sentence, "No significant difference at the median")) << c.sentence;
  EXPECT_TRUE(contains(c.tail, "no significant difference")) << c.tail;
}

TEST(ComparisonTest, TooFewBlocks) {
  const Comparison c = compare(trial_of(kFewestPairs - 1, {5}, {1000}), true);
  EXPECT_EQ(c.verdict, Verdict::too_few_blocks);
  EXPECT_TRUE(contains(c.sentence, "5 complete pairs of them where 6 are needed")) << c.sentence;
  EXPECT_EQ(compare(trial_of(kFewestPairs, {5}, {1000}), true).verdict, Verdict::pool_faster);
}

TEST(ComparisonTest, TooFewSamples) {
  const Comparison c = compare(trial_of(15, {5, 500}, {1000, 9}), true);
  EXPECT_EQ(c.verdict, Verdict::too_few_samples);
  EXPECT_TRUE(contains(c.sentence, "Of 15 pairs of blocks 0 have 10 connects")) << c.sentence;
}

TEST(ComparisonTest, NoConnects) {
  EXPECT_EQ(compare(trial_of(15, {5, 0}, {5, 0}), true).verdict, Verdict::no_connects);
  EXPECT_EQ(compare(Trial{}, true).verdict, Verdict::too_few_blocks);
  EXPECT_EQ(compare(Trial{}, false).verdict, Verdict::no_connects);
}

TEST(ComparisonTest, OnlyCompletePairsCount) {
  Trial trial = trial_of(6, {5}, {10});
  trial.blocks.erase(trial.blocks.begin() + 4);  // the first of the third pair
  trial.blocks.pop_back();                       // the second of the last
  const Comparison c = compare(trial, true);
  EXPECT_EQ(c.pairs, 4U);
  EXPECT_EQ(c.blocks.size(), 8U);
  EXPECT_EQ(c.pool.blocks, 4U);
  EXPECT_EQ(c.kernel.blocks, 4U);
}

TEST(ComparisonTest, RarePercentilesAreLeftOutWithANote) {
  const Comparison c = compare(trial_of(10, {5, 150}, {10, 50}), true);
  EXPECT_TRUE(c.quantiles[1].ratio) << "p90 of 500";
  EXPECT_TRUE(c.quantiles[2].pool) << "p99 of 1500";
  EXPECT_FALSE(c.quantiles[2].kernel) << "p99 of 500";
  EXPECT_FALSE(c.quantiles[2].ratio);
  EXPECT_TRUE(contains(comparison_as_text(c, Trial{}), "Too few samples for p99, p99.9"));
}

TEST(ComparisonTest, FallbacksAndStraysAreTold) {
  Trial trial = trial_of(10, {5}, {10});
  for (Block& block : trial.blocks) {
    if (block.arm == Route::pool) block.fallbacks = 100;
    block.other_arm = 50;
  }
  trial.total.fallbacks[static_cast<std::size_t>(FallbackReason::k_lane_full)] = 1234;
  const Comparison c = compare(trial, true);
  const std::string text = comparison_as_text(c, trial);
  EXPECT_TRUE(contains(text, "20 % of the pool arm's connects took the kernel's path")) << text;
  EXPECT_TRUE(contains(text, "1,000 connects ended in a block of the other arm")) << text;
  EXPECT_TRUE(contains(text, "1,234  no port of the lane was free")) << text;
  EXPECT_EQ(c.pool.fallbacks, 1000U);
}

TEST(ComparisonTest, ErrorsAreTold) {
  Trial trial = trial_of(10, {5}, {10});
  for (Block& block : trial.blocks) {
    if (block.arm == Route::kernel) block.latency.errors = 100;
    if (block.arm == Route::kernel) block.latency.no_port = 90;
  }
  const std::string text = comparison_as_text(compare(trial, true), trial);
  EXPECT_TRUE(
      contains(text, "0 % of the pool's connects and 20 % of the kernel's ended in an error"))
      << text;
  EXPECT_TRUE(contains(text, "1,000 (900 EADDRNOTAVAIL)")) << text;
}

TEST(ComparisonTest, JsonHasTheFigures) {
  const Trial trial = trial_of(10, {5}, {50});
  const Comparison c = compare(trial, true);
  const auto json = nlohmann::json::parse(comparison_as_json(c, trial));
  EXPECT_EQ(json.at("schema"), 1);
  EXPECT_EQ(json.at("verdict"), "pool_faster");
  EXPECT_EQ(json.at("pairs"), 10);
  EXPECT_EQ(json.at("blocks").size(), 20U);
  EXPECT_EQ(json.at("percentiles").at(0).at("percentile"), 50);
  EXPECT_NEAR(json.at("percentiles").at(0).at("ratio").at("value").get<double>(), 10, 1);
  EXPECT_EQ(json.at("arms").at("kernel").at("connects"), 5000);
  EXPECT_TRUE(json.at("arms").at("pool").at("cpu_us").is_null()) << "nothing was sampled";
  const auto& test = json.at("significance");
  EXPECT_TRUE(contains(test.at("test"), "Wilcoxon signed-rank"));
  EXPECT_EQ(test.at("w"), 55);
  EXPECT_EQ(test.at("zeros"), 0);
  EXPECT_EQ(test.at("p").get<double>(), 2.0 / 1024);
  EXPECT_TRUE(test.at("exact"));
  EXPECT_TRUE(test.at("u").is_null()) << "of another test";
}

TEST(ComparisonTest, JsonSurvivesNothingAndBadText) {
  Trial trial;
  trial.subject = "\xFF\xFE";
  EXPECT_TRUE(nlohmann::json::accept(comparison_as_json(compare(trial, true), trial)));
}

TEST(PageTest, WhatIsQuotedCannotBecomePartOfThePage) {
  Trial trial = trial_of(6, {5}, {50});
  const std::string evil = "sh -c '</code><script>alert(1)</script>' {{nonce}} \"&amp;\xFF\x01";
  trial.subject = evil;
  trial.environment = {{"<b>name", evil}};
  trial.remarks = {evil};
  const std::string page = comparison_as_html(compare(trial, true), trial);
  EXPECT_FALSE(contains(page, "<script>"));
  EXPECT_FALSE(contains(page, "<b>"));
  EXPECT_TRUE(contains(page,
                       "&lt;/code&gt;&lt;script&gt;alert(1)&lt;/script&gt;&#39; {{nonce}} "
                       "&quot;&amp;amp;\xEF\xBF\xBD\xEF\xBF\xBD"));
}

TEST(PageTest, RefersToNothingOutside) {
  const Trial trial = run_of(12, {5}, {50});
  for (const bool two_arms : {true, false}) {
    const std::string page = comparison_as_html(compare(trial, two_arms), trial);
    EXPECT_TRUE(contains(page, "default-src 'none'"));
    for (const char* reference : {"http://", "https://", " src=", "url(", "@import",
                                  " href=", "style=\"", "onclick", "onload", "nan", "inf "}) {
      EXPECT_FALSE(contains(page, reference)) << reference;
    }
    EXPECT_EQ(contains(page, "Pair by pair"), two_arms);
    EXPECT_EQ(contains(page, "As time goes by"), !two_arms);
  }
}

// A run has no arms, but two paths.
TEST(ComparisonTest, OneArmTellsThePathsApart) {
  const Trial trial = run_of(10, {5}, {50, 100});
  const Comparison c = compare(trial, false);
  EXPECT_EQ(c.verdict, Verdict::measured);
  EXPECT_EQ(c.pool.latency.count, 5000U);
  EXPECT_EQ(c.kernel.latency.count, 1000U);
  EXPECT_TRUE(contains(c.sentence,
                       "6,000 TCP connects, 17 % of them on the kernel's path. By the "
                       "pool: median 5."))
      << c.sentence;
  EXPECT_TRUE(contains(c.sentence, "By the kernel: median 49.")) << c.sentence;
  ASSERT_TRUE(c.quantiles[0].pool);
  ASSERT_TRUE(c.quantiles[0].kernel);
  EXPECT_NEAR(c.quantiles[0].pool->value, 5, 0.5);
  EXPECT_NEAR(c.quantiles[0].kernel->value, 50, 5);
  EXPECT_FALSE(c.quantiles[0].ratio) << "nothing is compared";
  const std::string page = comparison_as_html(c, trial);
  for (const char* part : {">pool</th>", ">kernel</th>", "pool p99", "kernel p50"}) {
    EXPECT_TRUE(contains(page, part)) << part;
  }
  EXPECT_FALSE(contains(page, "kernel / pool"));
  EXPECT_FALSE(contains(page, "Wilcoxon"));
}

TEST(ComparisonTest, OneArmWithOnePathShowsThatOne) {
  const Trial trial = run_of(10, {5}, {50, 0});
  const std::string page = comparison_as_html(compare(trial, false), trial);
  EXPECT_TRUE(contains(page, ">pool</th>"));
  EXPECT_FALSE(contains(page, ">kernel</th>"));
}

// Not a p-value of 1, and no dash for each figure that there is none of.
TEST(PageTest, OfNothingSaysSoInWords) {
  for (const bool two_arms : {true, false}) {
    const Trial trial = run_of(10, {5, 0}, {50, 0});
    const std::string page = comparison_as_html(compare(trial, two_arms), trial);
    EXPECT_TRUE(contains(page, "No connects in this time."));
    for (const char* part : {"&ndash;", "p = 1", "Wilcoxon", "<svg"}) {
      EXPECT_FALSE(contains(page, part)) << part;
    }
  }
  const Trial one_sided = trial_of(10, {5}, {50, 0});
  const std::string page = comparison_as_html(compare(one_sided, true), one_sided);
  EXPECT_TRUE(contains(page, "<span class=\"quiet\">no connects</span>"));
  EXPECT_FALSE(contains(page, "p = 1"));
  EXPECT_FALSE(contains(page, "&ndash;"));
}

TEST(PageTest, EveryPageHasAnotherNonce) {
  const auto nonce = [] {
    const std::string page = comparison_as_html(compare(Trial{}, true), Trial{});
    return page.substr(page.find("'nonce-"), 40);
  };
  EXPECT_NE(nonce(), nonce());
}

TEST(NumberText, ThreeDigits) {
  EXPECT_EQ(us_text(5.128), "5.13");
  EXPECT_EQ(us_text(51.28), "51.3");
  EXPECT_EQ(us_text(512.8), "513");
  EXPECT_EQ(us_text(51280.0), "51,280");
  EXPECT_EQ(ratio_text(0.981), "0.98");
  EXPECT_EQ(ratio_text(4.32), "4.3");
  EXPECT_EQ(ratio_text(203.4), "203");
  EXPECT_EQ(count_text(0), "0");
  EXPECT_EQ(count_text(999), "999");
  EXPECT_EQ(count_text(1234567), "1,234,567");
  EXPECT_EQ(percent_text(0.523), "52 %");
  EXPECT_EQ(percent_text(0.9994), "99.9 %");
  EXPECT_EQ(percent_text(0), "0 %");
  EXPECT_EQ(percent_text(1), "100 %");
  EXPECT_EQ(p_text(0.0004), "p < 0.001");
  EXPECT_EQ(p_text(0.0312), "p = 0.031");
}

}  // namespace
}  // namespace portpool::test
