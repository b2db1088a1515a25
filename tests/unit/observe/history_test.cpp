// The record of the last hour, as its readers see it: whatever stands there.
#include "observe/history.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>
#include <random>
#include <span>

#include "lanes/segment.h"
#include "observe/history_moments.h"

namespace portpool::test {
namespace {

Address v4(std::uint32_t address) { return address_from_v4({htonl(address)}); }

constexpr std::uint64_t kSecond = 1'000'000'000;
// 2026-01-01 12:00:00 UTC, and a machine that has run for an hour by then.
constexpr std::uint64_t kNoon = 1'767'268'800 * kSecond;
constexpr std::uint64_t kBoot = 3600 * kSecond;

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

class HistoryTest : public testing::Test {
 protected:
  HistoryTest() : segment({.lanes = 4, .shards = 1}, {}) { segment.publish(); }

  History& rings() { return segment.writer().history(); }
  // `second` is since noon; of `fine`, ticket and second are the same.
  HistorySample& put(std::span<HistorySample> ring, std::uint64_t ticket, std::uint64_t second) {
    HistorySample& sample = ring[ticket % ring.size()];
    sample.sequence = 2 * ticket + 2;
    sample.at_ns = kNoon + second * kSecond;
    sample.at_boot_ns = kBoot + second * kSecond;
    return sample;
  }
  // As many calls of 100 us or so by that path, altogether since the beginning.
  static void set_calls(HistorySample& sample, Route path, std::uint32_t calls) {
    const auto which = static_cast<std::size_t>(path);
    sample.latency[which][latency_bucket(100'000) / kSampleJoined] = calls;
    const auto ok = static_cast<std::size_t>(result_counter(path, ConnectResult::k_ok));
    sample.counters[ok] = calls;
  }
  static void set_reason(HistorySample& sample, FallbackReason why, std::uint32_t count) {
    sample.fallbacks[static_cast<std::size_t>(why)] = count;
  }
  // 100 connects a second by the pool, over `seconds`, in both rings as poold does it.
  void fill(std::uint64_t seconds) {
    for (std::uint64_t s = 0; s <= seconds; ++s) {
      set_calls(put(rings().fine, s, s), Route::pool, static_cast<std::uint32_t>(s * 100));
      if (s % 10 != 0) continue;
      set_calls(put(rings().coarse, s / 10, s), Route::pool, static_cast<std::uint32_t>(s * 100));
    }
  }
  HistoryReading read(std::uint64_t second) {
    return HistoryReading(segment.view(), kNoon + second * kSecond);
  }

  Segment segment;
};

TEST_F(HistoryTest, NothingIsThereAtFirst) {
  const HistoryReading history = read(0);
  EXPECT_TRUE(history.empty());
  EXPECT_TRUE(history.points().empty());
}

TEST_F(HistoryTest, WhatHappenedIsTheDifference) {
  fill(100);
  const HistoryReading history = read(101);
  ASSERT_EQ(history.points().size(), 101U);
  EXPECT_TRUE(history.begins_with_daemon());
  const Happened second = history.between(49, 50);
  EXPECT_EQ(second.connects(), 100U);
  EXPECT_EQ(second.seconds, 1);
  EXPECT_EQ(second.until_ns, kNoon + 50 * kSecond);
  EXPECT_EQ(second.errors(), 0U);
  const Happened all = history.between(0, 100);
  EXPECT_EQ(all.report.path(Route::pool).count, 10'000U);
  EXPECT_EQ(all.report.path(Route::kernel).count, 0U);
  EXPECT_EQ(history.age(history.points()[40]), 61);
  EXPECT_EQ(history.index_before(61), 40U);
  EXPECT_EQ(history.index_before(1e6), 0U);
}

TEST_F(HistoryTest, AnHourOfWhichFiveMinutesAreFine) {
  fill(7200);
  const HistoryReading history = read(7200);
  EXPECT_FALSE(history.begins_with_daemon());
  const auto& points = history.points();
  // 300 s of the fine ring, and before that, from the coarse one, what it still has.
  EXPECT_EQ(points.back().at_ns, kNoon + 7200 * kSecond);
  EXPECT_EQ(points.front().at_ns, kNoon + 3610 * kSecond);
  EXPECT_EQ(points.size(), 300U + (6900 - 3610) / 10 + 1);
  for (std::size_t i = 1; i < points.size(); ++i) {
    const Happened happened = history.between(i - 1, i);
    EXPECT_EQ(happened.connects(), static_cast<std::uint64_t>(happened.seconds * 100)) << i;
    EXPECT_EQ(happened.stood_still, 0) << i;
  }
}

TEST_F(HistoryTest, CountersMayWrap) {
  set_calls(put(rings().fine, 0, 0), Route::kernel, ~std::uint32_t{0} - 9);
  set_calls(put(rings().fine, 1, 1), Route::kernel, 30);
  EXPECT_EQ(read(1).between(0, 1).connects(), 40U);
}

TEST_F(HistoryTest, ATornSampleIsMissingAndNothingIsLost) {
  fill(20);
  rings().coarse[0].sequence = rings().coarse[1].sequence = 0;
  rings().fine[10].sequence = 2 * 10 + 1;  // as a poold that was killed leaves it
  rings().fine[15].sequence = 2 * 14 + 2;  // of another place
  const HistoryReading history = read(20);
  ASSERT_EQ(history.points().size(), 19U);
  const Happened around = history.between(9, 10);
  EXPECT_EQ(around.seconds, 2);
  EXPECT_EQ(around.connects(), 200U);
  EXPECT_EQ(around.stood_still, 0) << "a sample is missing, that says nothing about poold";
}

TEST_F(HistoryTest, AGapTellsForHowLongPooldStoodStill) {
  for (std::uint64_t s = 0; s <= 10; ++s) put(rings().fine, s, s);
  for (std::uint64_t s = 11; s <= 20; ++s) put(rings().fine, s, s + 30);
  set_calls(rings().fine[11], Route::kernel, 500);
  set_reason(rings().fine[11], FallbackReason::k_stale_heartbeat, 500);
  const HistoryReading history = read(50);
  const Happened gap = history.between(10, 11);
  EXPECT_EQ(gap.seconds, 31);
  EXPECT_EQ(gap.stood_still, 30);
  EXPECT_EQ(gap.missed(), 500U);
  EXPECT_EQ(gap.main_reason(), FallbackReason::k_stale_heartbeat);
  const std::string text =
      history_as_text(history, Report{}, {std::chrono::minutes(1), kNoon + 50 * kSecond});
  EXPECT_TRUE(has(text, "poold stood still for 30 s")) << text;
}

// The wall's clock was set back by an hour between two samples.
TEST_F(HistoryTest, AClockThatIsSetDoesNotChangeTheOrder) {
  fill(20);
  for (std::uint64_t s = 10; s <= 20; ++s) rings().fine[s].at_ns = kNoon + (s - 3600) * kSecond;
  const HistoryReading history(segment.view(), kNoon + (20 - 3600) * kSecond);
  EXPECT_EQ(history.age(history.points()[5]), 15);
  EXPECT_EQ(history.between(5, 15).seconds, 10);
}

TEST_F(HistoryTest, PoolNoneIsNotMissed) {
  put(rings().fine, 0, 0);
  HistorySample& sample = put(rings().fine, 1, 1);
  set_calls(sample, Route::kernel, 100);
  set_reason(sample, FallbackReason::k_no_pool, 90);
  set_reason(sample, FallbackReason::k_lane_full, 10);
  const Happened happened = read(1).between(0, 1);
  EXPECT_EQ(happened.missed(), 10U);
  EXPECT_EQ(happened.main_reason(), FallbackReason::k_lane_full);
}

class TroubleTest : public HistoryTest {
 protected:
  // From second `from` to `to` (excluded) half of 100 connects a second go by the kernel's path.
  void trouble(std::uint64_t seconds, std::uint64_t from, std::uint64_t to) {
    std::uint32_t pool = 0;
    std::uint32_t kernel = 0;
    for (std::uint64_t s = 0; s <= seconds; ++s) {
      const bool bad = s > from && s <= to;
      if (s > 0) pool += bad ? 50 : 100;
      if (bad) kernel += 50;
      HistorySample& sample = put(rings().fine, s, s);
      set_calls(sample, Route::pool, pool);
      set_calls(sample, Route::kernel, kernel);
      set_reason(sample, FallbackReason::k_lane_full, kernel);
    }
  }
};

TEST_F(TroubleTest, IsToldWithItsBeginning) {
  trouble(200, 100, 200);
  const auto found = present_trouble(read(200), TroubleKind::missed);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->began_ns, kNoon + 100 * kSecond);
  EXPECT_EQ(found->seconds, 100);
  EXPECT_EQ(found->affected, 5000U);
  EXPECT_EQ(found->connects, 10'000U);
  EXPECT_EQ(found->reason, FallbackReason::k_lane_full);
  EXPECT_FALSE(found->longer);
  EXPECT_FALSE(present_trouble(read(200), TroubleKind::no_port));
}

TEST_F(TroubleTest, ThatIsOverIsNone) {
  trouble(200, 100, 150);
  EXPECT_FALSE(present_trouble(read(200), TroubleKind::missed));
  trouble(200, 100, 200);
  EXPECT_FALSE(present_trouble(read(300), TroubleKind::missed)) << "nothing is known of late";
  EXPECT_FALSE(present_trouble(HistoryReading(), TroubleKind::missed));
}

TEST_F(TroubleTest, AFewFirstCallsAreNone) {
  put(rings().fine, 0, 0);
  for (std::uint64_t s = 1; s <= 20; ++s) {
    HistorySample& sample = put(rings().fine, s, s);
    set_calls(sample, Route::kernel, 20);
    set_reason(sample, FallbackReason::k_no_lane, 20);
  }
  EXPECT_FALSE(present_trouble(read(20), TroubleKind::missed));
}

// Only poold writes there, but what reads it may have met another one.
TEST_F(HistoryTest, AnythingMayStandThere) {
  std::mt19937_64 random(7);
  History& history = rings();
  for (int round = 0; round < 20; ++round) {
    auto* words = reinterpret_cast<std::uint64_t*>(&history);
    for (std::size_t i = 0; i < sizeof history / 8; ++i) words[i] = random();
    // Some are complete all the same.
    for (std::size_t i = 0; i < kFineSamples; i += 1 + round) {
      history.fine[i].sequence = 2 * (i + kFineSamples * (random() % 100)) + 2;
    }
    for (std::size_t i = 0; i < kCoarseSamples; i += 1 + round) {
      history.coarse[i].sequence = 2 * (i + kCoarseSamples * (random() >> 20)) + 2;
    }
    if (round == 0) std::memset(words, 0xFF, sizeof history);
    const HistoryReading read(segment.view(), random());
    if (read.empty()) continue;
    for (const std::chrono::seconds span : {std::chrono::seconds(1), std::chrono::seconds(600)}) {
      const Since since{span, random()};
      EXPECT_FALSE(history_as_text(read, Report{}, since).empty());
      const auto json = nlohmann::json::parse(history_as_json(read, Report{}, since));
      EXPECT_EQ(json.at("schema"), 1);
    }
    present_trouble(read, TroubleKind::missed);
    present_trouble(read, TroubleKind::no_port);
  }
}

TEST_F(HistoryTest, TheTextSaysWhenItWasWorst) {
  fill(120);
  // At second 60 a thousand find no port.
  const auto fail =
      static_cast<std::size_t>(result_counter(Route::kernel, ConnectResult::k_eaddrnotavail));
  for (std::uint64_t s = 60; s <= 120; ++s) {
    rings().fine[s].counters[fail] = 1000;
    rings().fine[s].latency[1][latency_bucket(3'000'000) / kSampleJoined] = 1000;
    set_reason(rings().fine[s], FallbackReason::k_lane_full, 1000);
  }
  SampleLane& lane = rings().fine[60].lanes[0];
  rings().fine[60].lane_count = 1;
  store_key(lane.key, {v4(0x0A000001), v4(0x0A000002), 443});
  lane.capacity = 1000;
  lane.in_use = 1000;
  const Since since{std::chrono::minutes(10), kNoon + 121 * kSecond};
  const std::string text = history_as_text(read(121), Report{}, since);
  for (const char* part :
       {"13,000 TCP connects, 92 % of them by the", "1,000 failed", "The record begins at",
        "1,000 of 1,100 connects failed, most with EADDRNOTAVAIL", "lane_full", "10.0.0.2:443",
        "100.0", "slowest: p99"}) {
    EXPECT_TRUE(has(text, part)) << part << "\n" << text;
  }
  const auto json = nlohmann::json::parse(history_as_json(read(121), Report{}, since));
  EXPECT_EQ(json.at("connects").at("kernel"), 1000);
  EXPECT_EQ(json.at("results").at("EADDRNOTAVAIL"), 1000);
  EXPECT_EQ(json.at("complete"), false);
  EXPECT_EQ(json.at("record_begins"), "2026-01-01T12:00:00.000Z");
  EXPECT_EQ(json.at("samples").size(), 120U);
  EXPECT_EQ(json.at("samples").at(59).at("errors"), 1000);
  EXPECT_EQ(json.at("samples").at(59).at("fullest_lanes").at(0).at("destination"), "10.0.0.2:443");
}

}  // namespace
}  // namespace portpool::test
