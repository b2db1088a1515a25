#include "observe/hgrm.h"

#include <gtest/gtest.h>

#include <memory>
#include <sstream>

namespace portpool::test {
namespace {

LatencySum sum_of(const std::vector<std::uint64_t>& values) {
  const auto histogram = std::make_unique<LatencyHistogram>();
  for (const std::uint64_t ns : values) histogram->record(ns);
  LatencySum sum;
  sum.add(*histogram);
  return sum;
}

// As HdrHistogram 2.1's outputPercentileDistribution(out, 5, 1000.0) writes it for one value.
TEST(Hgrm, OneValue) {
  EXPECT_EQ(latency_as_hgrm(sum_of({64})),
            "       Value     Percentile TotalCount 1/(1-Percentile)\n"
            "\n"
            "       0.064 0.000000000000          1           1.00\n"
            "       0.064 1.000000000000          1\n"
            "#[Mean    =        0.064, StdDeviation   =        0.000]\n"
            "#[Max     =        0.064, Total count    =            1]\n"
            "#[Buckets =           28, SubBuckets     =           32]\n");
}

TEST(Hgrm, Nothing) {
  EXPECT_EQ(latency_as_hgrm(LatencySum{}),
            "       Value     Percentile TotalCount 1/(1-Percentile)\n"
            "\n"
            "#[Mean    =        0.000, StdDeviation   =        0.000]\n"
            "#[Max     =        0.000, Total count    =            0]\n"
            "#[Buckets =           28, SubBuckets     =           32]\n");
}

// The levels of HdrHistogram's PercentileIterator with five ticks for each half.
TEST(Hgrm, LevelsHalveTheDistance) {
  std::vector<std::uint64_t> values;
  for (std::uint64_t i = 1; i <= 1000; ++i) values.push_back(i * 10'000);
  std::istringstream lines(latency_as_hgrm(sum_of(values)));
  std::string line;
  std::getline(lines, line);
  std::getline(lines, line);
  std::vector<double> levels;
  std::vector<double> shown;
  while (std::getline(lines, line) && !line.starts_with('#')) {
    std::istringstream fields(line);
    double value_us = 0;
    double level = 0;
    fields >> value_us >> level;
    levels.push_back(level);
    shown.push_back(value_us);
    // Of 1000 values 10 us apart, each at most a bucket's width off.
    EXPECT_NEAR(value_us, level * 10'000, level * 10'000 / 32 + 11) << line;
  }
  const std::vector<double> expected = {0,   0.1,  0.2,   0.3, 0.4,   0.5,  0.55,  0.6,   0.65,
                                        0.7, 0.75, 0.775, 0.8, 0.825, 0.85, 0.875, 0.8875};
  ASSERT_GT(levels.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(levels[i], expected[i], 1e-9);
  EXPECT_EQ(levels.back(), 1);
  EXPECT_EQ(shown.back(), 10'000);
}

TEST(Hgrm, WhatIsLongerThanTheLastBucketIsShownByTheMaximum) {
  const std::string text = latency_as_hgrm(sum_of({100, std::uint64_t{1} << 40}));
  EXPECT_NE(text.find("1099511627.776 1.000000000000          2\n"), std::string::npos) << text;
}

// Anyone with the segment can write its counters, and they wrap.
TEST(Hgrm, DamagedCountersEnd) {
  LatencySum wrapped;  // more is seen than the sum says
  wrapped.buckets[3] = 1000;
  wrapped.buckets[4] = ~std::uint64_t{0} - 10;
  wrapped.count = 989;
  EXPECT_LT(latency_as_hgrm(wrapped).size(), 200'000U);
  LatencySum huge;  // 100 % is reached in a double before all is seen
  huge.buckets[3] = std::uint64_t{1} << 62;
  huge.buckets[4] = 1;
  huge.count = (std::uint64_t{1} << 62) + 1;
  EXPECT_LT(latency_as_hgrm(huge).size(), 200'000U);
}

}  // namespace
}  // namespace portpool::test
