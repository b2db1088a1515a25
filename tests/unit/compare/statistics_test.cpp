// The statistics of poold compare against figures computed elsewhere: p-values published, listed
// one by one, or of scipy; intervals by their formula.
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <vector>

#include "compare/bootstrap.h"
#include "compare/signed_rank.h"
#include "observe/quantile.h"

namespace portpool::test {
namespace {

using List = std::vector<double>;

// Hollander and Wolfe (1973), 29f.: depression at the first and the second visit; as in the
// examples of R's wilcox.test, which has V = 40 and, one-sided, p = 0.01953.
TEST(SignedRankTest, PublishedExampleOfR) {
  const List first{1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30};
  const List second{0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29};
  List differences;
  for (std::size_t i = 0; i < first.size(); ++i) differences.push_back(first[i] - second[i]);
  const SignedRank found = signed_rank(differences);
  EXPECT_EQ(found.w, 40);
  EXPECT_TRUE(found.exact);
  EXPECT_DOUBLE_EQ(found.p, 0.0390625);
}

// Darwin's maize, crossed against self-fertilised; in the documentation of scipy.stats.wilcoxon:
// statistic 24 (the smaller sum), p = 0.041259765625.
TEST(SignedRankTest, PublishedExampleOfScipy) {
  const List maize{6, 8, 14, 16, 23, 24, 28, 29, 41, -48, 49, 56, 60, -67, 75};
  const SignedRank found = signed_rank(maize);
  EXPECT_EQ(found.w, 15 * 16 / 2 - 24);
  EXPECT_DOUBLE_EQ(found.p, 0.041259765625);
  List turned;
  for (const double value : maize) turned.push_back(-value);
  EXPECT_EQ(signed_rank(turned).w, 24);
  EXPECT_DOUBLE_EQ(signed_rank(turned).p, found.p);
}

// Ten pairs: 8 is the critical value of the tables (Siegel 1956, table G) at 0.05, two-sided.
TEST(SignedRankTest, CriticalValueOfTheTables) {
  const auto p = [](double negative) {
    List list{1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    list[static_cast<std::size_t>(negative) - 1] *= -1;
    return signed_rank(list).p;
  };
  EXPECT_DOUBLE_EQ(p(8), 50.0 / 1024);
  EXPECT_GT(p(9), 0.05);
}

TEST(SignedRankTest, ApartAsFarAsCanBe) {
  EXPECT_DOUBLE_EQ(signed_rank(List{1, 2, 3, 4, 5, 6}).p, 2.0 / 64);
  EXPECT_DOUBLE_EQ(signed_rank(List{-1, -2, -3, -4, -5}).p, 2.0 / 32) << "five are never enough";
}

// Pratt's own example: 0 to either side of it makes p smaller upwards and larger downwards. With
// zeros left out before ranking it would be 2 * 70 / 4096, and smaller downwards, too.
TEST(SignedRankTest, ZerosAreRankedAndThenLeftOut) {
  const auto with = [](double zero) {
    return signed_rank(List{zero, 2, 3, 4, 6, 7, 8, 9, 11, 14, 15, 17, -18});
  };
  EXPECT_EQ(with(0).zeros, 1U);
  EXPECT_EQ(with(0).w, 77);
  EXPECT_DOUBLE_EQ(with(0).p, 2 * 49.0 / 4096);
  EXPECT_DOUBLE_EQ(with(1).p, 2 * 88.0 / 8192);
  EXPECT_DOUBLE_EQ(with(-1).p, 2 * 109.0 / 8192);
}

// All 1024 ways to give ten ranks their signs, listed by itertools.product of Python.
TEST(SignedRankTest, ExactWithTiesAndZeros) {
  const SignedRank found = signed_rank(List{1, 1, -1, 2, 2, -2, 3, 4, 4, -5, 0, 0});
  EXPECT_EQ(found.w, 52);
  EXPECT_TRUE(found.exact);
  EXPECT_DOUBLE_EQ(found.p, 2 * 142.0 / 1024);
}

// scipy 1.10.1: wilcoxon(list, zero_method="pratt", correction=True, mode="approx").
TEST(SignedRankTest, ManyTakeTheNormalApproximation) {
  List list;
  for (int i = 0; i < 60; ++i) list.push_back(i * 37 % 101 - 40);
  const SignedRank found = signed_rank(list);
  EXPECT_EQ(found.w, 1222);
  EXPECT_EQ(found.zeros, 1U);
  EXPECT_FALSE(found.exact);
  EXPECT_NEAR(found.p, 0.023814797880424766, 1e-12);
}

TEST(SignedRankTest, ApproximationMeetsTheExactOne) {
  List list;
  for (int i = 1; i <= static_cast<int>(kExactPairs); ++i) list.push_back(i % 3 == 0 ? -i : i);
  const SignedRank exact = signed_rank(list);
  list.push_back(kExactPairs + 1);
  list[0] = -1;
  const SignedRank approximate = signed_rank(list);
  EXPECT_TRUE(exact.exact);
  EXPECT_FALSE(approximate.exact);
  EXPECT_NEAR(exact.p, approximate.p, 0.03);
}

TEST(SignedRankTest, NothingToCompare) {
  EXPECT_EQ(signed_rank(List{}).p, 1);
  EXPECT_EQ(signed_rank(List{0, 0, 0}).p, 1);
  EXPECT_EQ(signed_rank(List(80, 0.0)).p, 1);
  EXPECT_EQ(signed_rank(List{1, -1}).p, 1);
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
