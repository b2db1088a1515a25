// Cutting a segment's counts into blocks.
#include "compare/block_sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <random>

#include "compare/comparison.h"
#include "lanes/segment.h"

namespace portpool::test {
namespace {

using std::chrono::milliseconds;

class SamplerTest : public ::testing::Test {
 protected:
  SamplerTest() : segment({.lanes = 1, .shards = 1}, {.cookie = 1, .inode = 2}) {
    segment.publish();
  }

  void enter(std::uint32_t number, Route arm) {
    segment.header().ab_block.store(AbBlock{number, arm}.pack());
  }
  void connects(Route arm, Route path, int count) {
    for (int i = 0; i < count; ++i) {
      segment.view().shard(0).latency[histogram_index(arm, path, true)].record(5000);
    }
  }
  // Time goes on, tick by tick.
  void wait(BlockSampler& sampler, milliseconds time) {
    for (const auto end = now + time; now < end;) {
      now += BlockSampler::kTick;
      sampler.tick(now);
    }
  }
  void pass(BlockSampler& sampler, std::uint32_t number, Route arm, int count) {
    enter(number, arm);
    wait(sampler, milliseconds(50));
    connects(arm, arm, count);
    wait(sampler, milliseconds(50));
  }

  Segment segment;
  BlockSampler::Time now{std::chrono::seconds(100)};
};

TEST_F(SamplerTest, BlocksHoldTheirOwnConnects) {
  BlockSampler sampler = BlockSampler::of_arms(segment.view(), milliseconds(10), now);
  pass(sampler, 1, Route::kernel, 7);
  pass(sampler, 2, Route::pool, 11);
  pass(sampler, 3, Route::pool, 13);
  pass(sampler, 4, Route::kernel, 0);
  sampler.finish(now);
  ASSERT_EQ(sampler.blocks().size(), 3U) << "the last is not complete";
  EXPECT_EQ(sampler.pairs(), 1U);
  const std::vector<Block>& blocks = sampler.blocks();
  EXPECT_EQ(blocks[0].number, 1U);
  EXPECT_EQ(blocks[0].arm, Route::kernel);
  EXPECT_EQ(blocks[0].latency.count, 7U);
  EXPECT_EQ(blocks[1].latency.count, 11U);
  EXPECT_EQ(blocks[2].latency.count, 13U);
  EXPECT_NEAR(blocks[1].length_s, 0.09, 0.011);
}

TEST_F(SamplerTest, BeginningOfABlockIsNotCounted) {
  BlockSampler sampler = BlockSampler::of_arms(segment.view(), milliseconds(20), now);
  enter(1, Route::pool);
  wait(sampler, milliseconds(10));
  connects(Route::pool, Route::pool, 100);
  wait(sampler, milliseconds(20));
  connects(Route::pool, Route::pool, 3);
  connects(Route::pool, Route::kernel, 2);
  connects(Route::kernel, Route::kernel, 4);
  wait(sampler, milliseconds(20));
  pass(sampler, 2, Route::kernel, 0);
  ASSERT_EQ(sampler.blocks().size(), 1U);
  EXPECT_EQ(sampler.blocks()[0].latency.count, 5U);
  EXPECT_EQ(sampler.blocks()[0].fallbacks, 2U);
  EXPECT_EQ(sampler.blocks()[0].other_arm, 4U);
  EXPECT_EQ(sampler.total().path(Route::pool).count, 103U) << "but in the total";
}

TEST_F(SamplerTest, BlockBesideOneThatWasMissedIsLeftOut) {
  BlockSampler sampler = BlockSampler::of_arms(segment.view(), milliseconds(10), now);
  pass(sampler, 1, Route::pool, 5);
  pass(sampler, 4, Route::kernel, 5);
  pass(sampler, 5, Route::kernel, 5);
  pass(sampler, 6, Route::pool, 5);
  pass(sampler, 0, Route::pool, 5);
  pass(sampler, 0, Route::pool, 5);
  ASSERT_EQ(sampler.blocks().size(), 2U);
  EXPECT_EQ(sampler.blocks()[0].number, 4U);
  EXPECT_EQ(sampler.blocks()[1].number, 5U);
  EXPECT_EQ(sampler.pairs(), 0U);
  EXPECT_FALSE(sampler.arm());
}

TEST_F(SamplerTest, PairsOfALongMeasurementBecomeOne) {
  constexpr std::uint32_t kPairs = 3000;
  constexpr std::uint32_t kMissing = 2000;
  BlockSampler sampler = BlockSampler::of_arms(segment.view(), milliseconds(5), now);
  std::uint64_t of_pool = 0;
  std::uint64_t of_kernel = 0;
  for (std::uint32_t pair = 0; pair < kPairs; ++pair) {
    if (pair == kMissing) continue;
    const bool pool_first = pair % 3 == 0;
    for (std::uint32_t i = 0; i < 2; ++i) {
      const Route arm = pool_first == (i == 0) ? Route::pool : Route::kernel;
      enter(2 * pair + i + 1, arm);
      wait(sampler, milliseconds(10));
      const int count = static_cast<int>(pair % 7 + i);
      connects(arm, arm, count);
      // The block before the gap is not complete, and with it its pair.
      if (pair + 1 != kMissing) {
        (arm == Route::pool ? of_pool : of_kernel) += static_cast<std::uint64_t>(count);
      }
      wait(sampler, milliseconds(10));
    }
  }
  enter(2 * kPairs + 1, Route::pool);
  wait(sampler, milliseconds(10));
  const std::vector<Block>& blocks = sampler.blocks();
  EXPECT_LT(blocks.size(), BlockSampler::kMostBlocks);
  EXPECT_LE(blocks.capacity() * sizeof(Block), std::size_t{16} * 1024 * 1024);
  EXPECT_EQ(sampler.pairs(), kPairs - 2);
  std::uint64_t seen_pool = 0;
  std::uint64_t seen_kernel = 0;
  std::size_t smaller = 0;
  for (std::size_t i = 0; i + 1 < blocks.size(); ++i) {
    if (blocks[i].number % 2 == 0 || blocks[i + 1].number != blocks[i].number + 1) continue;
    ASSERT_EQ(blocks[i].merged, blocks[i + 1].merged);
    ASSERT_NE(blocks[i].arm, blocks[i + 1].arm);
    if (blocks[i].merged < blocks[0].merged) ++smaller;
    EXPECT_NEAR(blocks[i].length_s, 0.015 * blocks[i].merged, 0.006 * blocks[i].merged);
  }
  for (const Block& block : blocks) {
    if (block.number == 2 * kMissing - 1) continue;
    (block.arm == Route::pool ? seen_pool : seen_kernel) += block.latency.count;
  }
  EXPECT_LE(smaller, 2U) << "the last one, and the one before the gap";
  EXPECT_EQ(seen_pool, of_pool);
  EXPECT_EQ(seen_kernel, of_kernel);
}

// A long measurement as it is kept, and as it would be without merging.
class LongTrial : public SamplerTest {
 protected:
  static constexpr std::uint32_t kPairs = 600;

  // Blocks of each arm lie about these latencies, and drift by a tenth; calls by as much again.
  void measure(double pool_us, double kernel_us) {
    std::mt19937_64 random(7);
    std::uniform_real_distribution<double> tenth(0.9, 1.1);
    BlockSampler kept_sampler = BlockSampler::of_arms(segment.view(), milliseconds(5), now);
    std::optional<BlockSampler> part = kept_sampler;
    for (std::uint32_t number = 1; number <= 2 * kPairs + 1; ++number) {
      const bool pool_first = (number - 1) / 2 % 3 == 0;
      const Route arm = (number % 2 == 1) == pool_first ? Route::pool : Route::kernel;
      enter(number, arm);
      const double middle = (arm == Route::pool ? pool_us : kernel_us) * tenth(random);
      for (int tick = 0; tick < 4; ++tick) {
        now += BlockSampler::kTick;
        kept_sampler.tick(now);
        part->tick(now);
        // The blocks before have ended with this tick; the present one is the next part's.
        if (tick == 0 && number % 400 == 1 && number > 1) {
          whole.blocks.insert(whole.blocks.end(), part->blocks().begin(), part->blocks().end());
          part = BlockSampler::of_arms(segment.view(), milliseconds(5), now);
          part->tick(now);
        }
        for (int call = 0; call < 15; ++call) {
          segment.view().shard(0).latency[histogram_index(arm, arm, true)].record(
              static_cast<std::uint64_t>(middle * tenth(random) * 1000));
        }
      }
    }
    kept.blocks = kept_sampler.blocks();
  }

  void expect_same_verdict(Verdict verdict) {
    ASSERT_EQ(whole.blocks.size(), 2 * kPairs);
    ASSERT_LT(kept.blocks.size(), BlockSampler::kMostBlocks);
    const Comparison of_all = compare(whole, true);
    const Comparison of_merged = compare(kept, true);
    EXPECT_EQ(of_all.verdict, verdict) << of_all.sentence;
    EXPECT_EQ(of_merged.verdict, verdict) << of_merged.sentence;
    EXPECT_EQ(of_all.pool.latency.count, of_merged.pool.latency.count);
    EXPECT_EQ(of_all.kernel.latency.count, of_merged.kernel.latency.count);
    for (std::size_t i = 0; i < 3; ++i) {
      ASSERT_TRUE(of_all.quantiles[i].ratio && of_merged.quantiles[i].ratio) << i;
      const Interval& all = *of_all.quantiles[i].ratio;
      const Interval& merged = *of_merged.quantiles[i].ratio;
      EXPECT_DOUBLE_EQ(all.value, merged.value) << "the same calls";
      // Of the same data, and of blocks that do not depend on each other: about as wide.
      EXPECT_LT(merged.high - merged.low, 2 * (all.high - all.low)) << i;
      EXPECT_GT(merged.high - merged.low, 0.5 * (all.high - all.low)) << i;
    }
    const auto is_note = [](const std::string& note) {
      return note == "600 pairs of blocks were measured; 2 neighbouring ones each count as one.";
    };
    EXPECT_EQ(std::count_if(of_merged.notes.begin(), of_merged.notes.end(), is_note), 1);
    EXPECT_EQ(std::count_if(of_all.notes.begin(), of_all.notes.end(), is_note), 0);
  }

  Trial whole;
  Trial kept;
};

TEST_F(LongTrial, FasterStaysFaster) {
  measure(10, 11);
  expect_same_verdict(Verdict::pool_faster);
}

TEST_F(LongTrial, SlowerStaysSlower) {
  measure(10.5, 10);
  expect_same_verdict(Verdict::pool_slower);
}

TEST_F(LongTrial, NoDifferenceStaysNone) {
  measure(10, 10);
  expect_same_verdict(Verdict::no_difference);
}

TEST_F(SamplerTest, SlicesHoldEverything) {
  BlockSampler sampler = BlockSampler::of_slices(segment.view(), now);
  int expected = 0;
  for (int second = 0; second < 1000; ++second) {
    connects(Route::pool, second % 2 == 0 ? Route::pool : Route::kernel, 1);
    ++expected;
    now += std::chrono::seconds(1);
    sampler.tick(now);
  }
  connects(Route::kernel, Route::kernel, 5);
  sampler.finish(now);
  EXPECT_LE(sampler.blocks().size(), 241U);
  EXPECT_GE(sampler.blocks().size(), 100U);
  std::uint64_t count = 0;
  double length = 0;
  for (const Block& block : sampler.blocks()) {
    count += block.latency.count;
    length += block.length_s;
  }
  EXPECT_EQ(count, static_cast<std::uint64_t>(expected + 5));
  EXPECT_NEAR(length, 1000, 1e-6);
}

}  // namespace
}  // namespace portpool::test
