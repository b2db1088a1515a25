// The statistics of poold compare against figures computed elsewhere: p-values by listing every
// arrangement (exact) or from the normal distribution's table, intervals by their formula.
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <vector>

#include "compare/bootstrap.h"
#include "compare/mann_whitney.h"
#include "observe/quantile.h"

namespace portpool::test {
namespace {

using List = std::vector<double>;

TEST(MannWhitneyTest, ExactWithoutTies) {
  const MannWhitney ages = mann_whitney(List{19, 22, 16, 29, 24}, List{20, 11, 17, 12});
  EXPECT_EQ(ages.u, 17);
  EXPECT_TRUE(ages.exact);
  EXPECT_NEAR(ages.p, 0.1111111111111111, 1e-12);

  const MannWhitney larger = mann_whitney(List{5.1, 4.9, 5.6, 6.0, 5.3, 5.8, 4.7},
                                          List{5.5, 6.2, 6.4, 5.9, 6.8, 7.1, 6.1, 5.7});
  EXPECT_EQ(larger.u, 6);
  EXPECT_NEAR(larger.p, 0.009324009324009324, 1e-12);
}

TEST(MannWhitneyTest, ApartAsFarAsCanBe) {
  EXPECT_NEAR(mann_whitney(List{1, 2, 3, 4, 5}, List{6, 7, 8, 9, 10}).p, 2.0 / 252, 1e-12);
  EXPECT_NEAR(mann_whitney(List{6, 7, 8, 9, 10}, List{1, 2, 3, 4, 5}).p, 2.0 / 252, 1e-12);
  EXPECT_NEAR(mann_whitney(List{1, 2, 3}, List{4, 5, 6}).p, 0.1, 1e-12);
}

TEST(MannWhitneyTest, TiesTakeTheNormalApproximation) {
  const MannWhitney tied =
      mann_whitney(List{1, 2, 2, 3, 4, 4, 4, 5}, List{3, 4, 5, 5, 6, 6, 7, 8, 8});
  EXPECT_EQ(tied.u, 8);
  EXPECT_FALSE(tied.exact);
  EXPECT_NEAR(tied.p, 0.007453631850691256, 1e-9);
}

TEST(MannWhitneyTest, ManyTakeTheNormalApproximation) {
  List a(40);
  List b(30);
  std::iota(a.begin(), a.end(), 0.0);
  std::iota(b.begin(), b.end(), 7.5);
  const MannWhitney many = mann_whitney(a, b);
  EXPECT_EQ(many.u, 525);
  EXPECT_FALSE(many.exact);
  EXPECT_NEAR(many.p, 0.3766139846876386, 1e-9);
}

TEST(MannWhitneyTest, NothingToCompare) {
  EXPECT_EQ(mann_whitney(List{}, List{1, 2}).p, 1);
  EXPECT_EQ(mann_whitney(List{1}, List{}).p, 1);
  EXPECT_EQ(mann_whitney(List{3, 3, 3}, List{3, 3, 3}).p, 1) << "all equal";
  EXPECT_EQ(mann_whitney(List{1, 4}, List{2, 3}).p, 1) << "in the middle of each other";
}

// `count` calls in the bucket that holds `us`.
void add_calls(LatencySum& sum, double us, std::uint64_t count) {
  const auto ns = static_cast<std::uint64_t>(us * 1000);
  sum.buckets[latency_bucket(ns)] += count;
  sum.count += count;
  sum.sum_ns += ns * count;
  sum.max_ns = std::max(sum.max_ns, ns);
}

TEST(QuantileTest, LiesInsideTheBucketByItsShare) {
  LatencySum sum;
  add_calls(sum, 10, 100);
  add_calls(sum, 1000, 100);
  const std::size_t bucket = latency_bucket(10'000);
  const double low = static_cast<double>(latency_bucket_low(bucket)) / 1000;
  const double high = static_cast<double>(latency_bucket_low(bucket + 1)) / 1000;
  EXPECT_DOUBLE_EQ(quantile_us(sum, 0), low);
  EXPECT_DOUBLE_EQ(quantile_us(sum, 0.125), low + (high - low) / 4);
  EXPECT_DOUBLE_EQ(quantile_us(sum, 0.5), high) << "the first hundred's end";
  EXPECT_NEAR(quantile_us(sum, 0.75), 1000, 1000.0 / 32);
}

TEST(QuantileTest, NoneIsAboveTheLongestCall) {
  LatencySum sum;
  add_calls(sum, 10, 100);
  const double low = static_cast<double>(latency_bucket_low(latency_bucket(10'000))) / 1000;
  EXPECT_DOUBLE_EQ(quantile_us(sum, 0), low);
  EXPECT_DOUBLE_EQ(quantile_us(sum, 0.5), (low + 10) / 2);
  EXPECT_DOUBLE_EQ(quantile_us(sum, 1), 10);
}

TEST(QuantileTest, WithoutCallsThereIsNone) {
  EXPECT_TRUE(std::isnan(quantile_us(LatencySum{}, 0.5)));
  EXPECT_TRUE(std::isnan(quantile_of(List{}, 0.5)));
}

TEST(QuantileTest, SeveralAtOnceAreTheSameAsOneByOne) {
  LatencySum sum;
  for (int i = 1; i < 500; ++i) add_calls(sum, i * 0.7, static_cast<std::uint64_t>(i % 7));
  const List qs{0, 0.001, 0.1, 0.5, 0.5, 0.9, 0.999, 1};
  const List all = quantiles_us(sum, qs);
  ASSERT_EQ(all.size(), qs.size());
  for (std::size_t i = 0; i < qs.size(); ++i) EXPECT_DOUBLE_EQ(all[i], quantile_us(sum, qs[i]));
}

TEST(QuantileTest, TenCallsMustLieBeyond) {
  LatencySum sum;
  add_calls(sum, 10, 999);
  EXPECT_FALSE(has_quantile(sum, 0.99));
  add_calls(sum, 10, 1);
  EXPECT_TRUE(has_quantile(sum, 0.99));
  EXPECT_FALSE(has_quantile(sum, 0.999));
}

TEST(QuantileTest, OfAListAsRDoesIt) {
  EXPECT_DOUBLE_EQ(quantile_of(List{4, 1, 3, 2}, 0.5), 2.5);
  EXPECT_DOUBLE_EQ(quantile_of(List{4, 1, 3, 2}, 0.25), 1.75);
  EXPECT_DOUBLE_EQ(quantile_of(List{7, NAN, 5}, 1), 7);
}

List mean_us(const LatencySum& pool, const LatencySum& kernel) {
  const auto mean = [](const LatencySum& s) {
    return static_cast<double>(s.sum_ns) / static_cast<double>(s.count) / 1000;
  };
  return {mean(pool), mean(kernel) / mean(pool)};
}

TEST(BootstrapTest, IntervalOfAMeanIsThatOfTheFormula) {
  // 0 to 99 us, once each: the standard error of the mean is sqrt(833.25 / 100).
  std::vector<BlockPair> pairs(100);
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    add_calls(pairs[i].pool, static_cast<double>(i), 1);
    add_calls(pairs[i].kernel, 2 * static_cast<double>(i), 1);
  }
  const Interval mean = bootstrap(pairs, mean_us, 1)[0];
  const double error = std::sqrt(833.25 / 100);
  EXPECT_DOUBLE_EQ(mean.value, 49.5);
  EXPECT_NEAR(mean.low, 49.5 - 1.96 * error, 0.25 * error);
  EXPECT_NEAR(mean.high, 49.5 + 1.96 * error, 0.25 * error);
}

TEST(BootstrapTest, PairsAreDrawnAsPairs) {
  std::vector<BlockPair> pairs(20);
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    add_calls(pairs[i].pool, static_cast<double>(i + 1), 1);
    add_calls(pairs[i].kernel, 3 * static_cast<double>(i + 1), 1);
  }
  const Interval ratio = bootstrap(pairs, mean_us, 1)[1];
  EXPECT_NEAR(ratio.low, 3, 1e-9) << "drawn apart, the ratio would vary";
  EXPECT_NEAR(ratio.high, 3, 1e-9);
}

// Of 15 blocks with one call each, the median of a resample is at most the 3rd in 0.4 % and at most
// the 5th in 8.8 % of the cases (binomial), so that 2.5 % lies between.
TEST(BootstrapTest, IntervalOfAMedianIsThatOfTheBinomialDistribution) {
  std::vector<BlockPair> pairs(15);
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    add_calls(pairs[i].pool, std::pow(2.0, static_cast<double>(i)), 1);
  }
  const Figures median = [](const LatencySum& pool, const LatencySum&) {
    return List{std::round(std::log2(quantile_us(pool, 0.5)))};
  };
  for (const std::uint64_t seed : {1U, 2U, 3U}) {
    const Interval found = bootstrap(pairs, median, seed)[0];
    EXPECT_EQ(found.value, 7);
    EXPECT_GT(found.low, 2 - 0.5);
    EXPECT_LT(found.low, 4 + 0.5);
    EXPECT_GT(found.high, 10 - 0.5);
    EXPECT_LT(found.high, 12 + 0.5);
  }
}

TEST(BootstrapTest, SameSeedSameIntervals) {
  std::vector<BlockPair> pairs(12);
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    add_calls(pairs[i].pool, static_cast<double>(5 + i * i % 7), 3);
    add_calls(pairs[i].kernel, static_cast<double>(9 + i * i % 5), 3);
  }
  const auto low = [&](std::uint64_t seed) { return bootstrap(pairs, mean_us, seed, 50)[0].low; };
  EXPECT_EQ(low(7), low(7));
  EXPECT_NE(low(7), low(8));
}

TEST(BootstrapTest, OnePairHasNoWidth) {
  std::vector<BlockPair> pairs(1);
  add_calls(pairs[0].pool, 10, 5);
  add_calls(pairs[0].kernel, 20, 5);
  const Interval mean = bootstrap(pairs, mean_us, 1)[0];
  EXPECT_EQ(mean.low, mean.value);
  EXPECT_EQ(mean.high, mean.value);
}

}  // namespace
}  // namespace portpool::test
