#include "portpool/latency.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include "base/clock.h"
#include "observe/quantile.h"

namespace portpool::test {
namespace {

constexpr std::uint64_t kSmallest = 64;
constexpr std::uint64_t kLargest = (std::uint64_t{1} << 34) - 1;

TEST(LatencyBucket, EveryBucketBeginsWhereTheLastEnds) {
  EXPECT_EQ(latency_bucket_low(0), kSmallest);
  EXPECT_EQ(latency_bucket_low(kLatencyBuckets), kLargest + 1);
  for (std::size_t i = 0; i < kLatencyBuckets; ++i) {
    ASSERT_EQ(latency_bucket(latency_bucket_low(i)), i);
    ASSERT_EQ(latency_bucket(latency_bucket_low(i + 1) - 1), i);
    ASSERT_LT(latency_bucket_low(i), latency_bucket_low(i + 1));
  }
}

TEST(LatencyBucket, IsAtMostA32ndWide) {
  for (std::size_t i = 0; i < kLatencyBuckets; ++i) {
    const std::uint64_t low = latency_bucket_low(i);
    ASSERT_LE((latency_bucket_low(i + 1) - low) * 32, low) << i;
  }
}

TEST(LatencyBucket, IsMonotonic) {
  std::size_t last = 0;
  for (std::uint64_t ns = 0; ns < 100'000; ++ns) {
    const std::size_t bucket = latency_bucket(ns);
    ASSERT_GE(bucket, last) << ns;
    last = bucket;
  }
  for (std::uint64_t ns = 100'000; ns < kLargest * 2; ns += ns / 500) {
    const std::size_t bucket = latency_bucket(ns);
    ASSERT_GE(bucket, last) << ns;
    ASSERT_LT(bucket, kLatencyBuckets);
    last = bucket;
  }
}

TEST(LatencyBucket, ValuesOutsideFallIntoTheFirstAndLast) {
  for (const std::uint64_t ns : {0U, 1U, 63U, 64U, 65U}) EXPECT_EQ(latency_bucket(ns), 0U) << ns;
  for (const std::uint64_t ns : {kLargest, kLargest + 1, ~std::uint64_t{0}}) {
    EXPECT_EQ(latency_bucket(ns), kLatencyBuckets - 1) << ns;
  }
}

TEST(Histogram, IndexIsDistinctForEachKind) {
  std::set<std::size_t> seen;
  for (const Route arm : {Route::pool, Route::kernel}) {
    for (const Route path : {Route::pool, Route::kernel}) {
      for (const bool blocking : {false, true}) seen.insert(histogram_index(arm, path, blocking));
    }
  }
  EXPECT_EQ(seen.size(), kHistograms);
  EXPECT_EQ(*seen.rbegin(), kHistograms - 1);
}

TEST(Histogram, RecordsCountSumAndMaximum) {
  const auto histogram = std::make_unique<LatencyHistogram>();
  for (const std::uint64_t ns : {100U, 5'000U, 5'000U, 1'000'000U, 7U}) histogram->record(ns);
  EXPECT_EQ(histogram->buckets[latency_bucket(5'000)].load(), 2U);
  EXPECT_EQ(histogram->buckets[0].load(), 1U);
  EXPECT_EQ(histogram->max_ns.load(), 1'000'000U);
  EXPECT_EQ(histogram->sum_ns.load(), 1'010'107U);
}

TEST(LatencySum, QuantileIsWithinABucketOfTheTruth) {
  const auto histogram = std::make_unique<LatencyHistogram>();
  std::mt19937_64 random{1};
  std::lognormal_distribution<double> latency(std::log(20'000.0), 1.5);
  std::vector<std::uint64_t> values;
  for (int i = 0; i < 100'000; ++i) {
    values.push_back(static_cast<std::uint64_t>(std::clamp(latency(random), 64.0, 1e10)));
    histogram->record(values.back());
  }
  std::sort(values.begin(), values.end());
  LatencySum sum;
  sum.add(*histogram);
  EXPECT_EQ(sum.count, values.size());
  for (const double q : {0.0, 0.01, 0.5, 0.9, 0.99, 0.999, 0.9999, 1.0}) {
    const auto rank = static_cast<std::size_t>(std::ceil(q * static_cast<double>(values.size())));
    const std::uint64_t exact = values[std::max<std::size_t>(rank, 1) - 1];
    const std::size_t bucket = latency_bucket(exact);
    EXPECT_GE(quantile_us(sum, q), to_us(latency_bucket_low(bucket))) << q;
    EXPECT_LE(quantile_us(sum, q), to_us(latency_bucket_low(bucket + 1))) << q;
    // Halfway into its bucket a call is told more exactly than by the bucket's end.
    if (q > 0 && q <= 0.99) {
      EXPECT_NEAR(quantile_us(sum, q), to_us(exact), to_us(exact) / 64) << q;
    }
  }
  EXPECT_EQ(quantile_us(sum, 1), to_us(values.back()));
}

TEST(LatencySum, QuantilesOfFewAndOfNone) {
  LatencySum sum;
  EXPECT_TRUE(std::isnan(quantile_us(sum, 0.5)));
  const auto histogram = std::make_unique<LatencyHistogram>();
  histogram->record(1'000);
  sum.add(*histogram);
  const double low = to_us(latency_bucket_low(latency_bucket(1'000)));
  EXPECT_DOUBLE_EQ(quantile_us(sum, 0), low);
  EXPECT_DOUBLE_EQ(quantile_us(sum, 0.5), (low + 1) / 2);
  EXPECT_DOUBLE_EQ(quantile_us(sum, 1), 1);
}

// Shorter than the first bucket, longer than the last: the true maximum is still told.
TEST(LatencySum, QuantilesBeyondTheBuckets) {
  const auto histogram = std::make_unique<LatencyHistogram>();
  histogram->record(5);
  LatencySum sum;
  sum.add(*histogram);
  EXPECT_DOUBLE_EQ(quantile_us(sum, 0.5), 0.005);
  histogram->record(100'000'000'000);
  sum = {};
  sum.add(*histogram);
  EXPECT_DOUBLE_EQ(quantile_us(sum, 1), 100'000'000);
  EXPECT_EQ(sum.max_ns, 100'000'000'000U);
}

TEST(LatencySum, AddsShardsAndSubtractsAnEarlierReading) {
  const auto a = std::make_unique<LatencyHistogram>();
  const auto b = std::make_unique<LatencyHistogram>();
  a->record(1'000);
  b->record(9'000'000);
  LatencySum earlier;
  earlier.add(*a);
  earlier.add(*b);
  EXPECT_EQ(earlier.count, 2U);
  a->record(2'000);
  LatencySum later;
  later.add(*a);
  later.add(*b);
  later.subtract(earlier);
  EXPECT_EQ(later.count, 1U);
  EXPECT_EQ(later.sum_ns, 2'000U);
  EXPECT_EQ(later.buckets[latency_bucket(2'000)], 1U);
  EXPECT_GE(later.max_ns, 2'000U);
  EXPECT_LE(later.max_ns, 2'000U + 2'000U / 32);
}

}  // namespace
}  // namespace portpool::test
