// The ring of ages: when a freed port comes back, and whether the next one can be foretold.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "unit/contract/lane_memory.h"

namespace portpool::test {
namespace {

constexpr std::uint16_t kLow = 32768;
constexpr std::uint16_t kHigh = 60999;
constexpr std::size_t kCapacity = 28232;

TEST(FreeRing, PacksAndUnpacks) {
  for (std::uint32_t oldest = 0; oldest < kFreeMaps; ++oldest) {
    for (std::uint32_t youngest = 0; youngest < kFreeMaps; ++youngest) {
      const FreeRing ring = FreeRing::unpack(FreeRing{oldest, youngest}.pack());
      EXPECT_EQ(ring.oldest, oldest);
      EXPECT_EQ(ring.youngest, youngest);
    }
  }
}

TEST(FreeRing, AnyWordUnpacksToValidMaps) {
  std::mt19937 random{1};
  for (int i = 0; i < 100'000; ++i) {
    const FreeRing ring = FreeRing::unpack(static_cast<std::uint32_t>(random()));
    ASSERT_LT(ring.oldest, kFreeMaps);
    ASSERT_LT(ring.youngest, kFreeMaps);
    ASSERT_GE(ring.length(), 1U);
    ASSERT_LE(ring.length(), kFreeMaps);
    ASSERT_LT(ring.drop_oldest().oldest, kFreeMaps);
    ASSERT_LT(ring.add_youngest().youngest, kFreeMaps);
  }
}

TEST(FreeRing, LengthFollowsDroppingAndAdding) {
  FreeRing ring{2, 2};
  for (std::uint32_t length = 1; length < kFreeMaps; ++length) {
    EXPECT_EQ(ring.length(), length);
    ring = ring.add_youngest();
  }
  for (std::uint32_t length = kFreeMaps; length > 1; --length) {
    EXPECT_EQ(ring.length(), length);
    ring = ring.drop_oldest();
  }
  EXPECT_EQ(ring.length(), 1U);
}

PortSet of_parity(const PortSet& ports, Parity parity) {
  PortSet some;
  for (const std::uint16_t port : ports) {
    if (parity_of(port) == parity) some.insert(port);
  }
  return some;
}

// Of one parity, the maps in play except the youngest: what must be used up before a port released
// now returns.
PortSet older_than_released(LaneHints& lane, Parity parity) {
  const FreeRing ring = FreeRing::unpack(ring_of(lane, parity));
  PortSet ports;
  for (std::uint32_t i = 0; i + 1 < ring.length(); ++i) {
    ports.merge(of_parity(ports_in(lane, map_id((ring.oldest + i) % kFreeMaps)), parity));
  }
  return ports;
}

TEST(Ring, AFreedPortReturnsOnlyAfterThoseInOlderMaps) {
  const auto lane = make_lane();
  make_free(*lane, kLow, kLow + 2999);
  std::mt19937_64 random{2};
  std::vector<std::uint16_t> held;
  const auto take = [&] {
    const int port = claim(*lane, random());
    EXPECT_GE(port, 0);
    held.push_back(static_cast<std::uint16_t>(port));
    return held.back();
  };
  for (int i = 0; i < 1500; ++i) take();
  for (int round = 0; round < 40; ++round) {
    std::swap(held[random() % held.size()], held.back());
    const std::uint16_t watched = held.back();
    held.pop_back();
    PortSet older = older_than_released(*lane, parity_of(watched));
    release(*lane, watched);
    for (;;) {
      std::swap(held[random() % held.size()], held.back());
      release(*lane, held.back());
      held.pop_back();
      const std::uint16_t port = take();
      if (port == watched) break;
      older.erase(port);
    }
    ASSERT_TRUE(older.empty()) << "round " << round << ": " << older.size() << " overtaken";
  }
}

// With one map in play, the first claim begins another for what is released.
TEST(Ring, AReleaseDoesNotJoinTheMapThatClaimsAreTakenFrom) {
  std::mt19937_64 random{7};
  for (std::uint32_t map = 0; map < kFreeMaps; ++map) {
    const auto lane = make_lane();
    set_rings(*lane, FreeRing{map, map}.pack());
    for (std::uint16_t port = 100; port < 200; ++port) put_port(free_map(*lane, map), port);
    PortSet seen;
    for (int i = 0; i < 50; ++i) {
      const auto port = static_cast<std::uint16_t>(claim(*lane, random()));
      EXPECT_TRUE(seen.insert(port).second) << port << " came back after " << i << " claims";
      release(*lane, port);
    }
  }
}

// Claims between the release of a port and its next use, as a share of the ports that are free.
struct ReuseDistance {
  double smallest = 0;
  double median = 0;
};

// Of claims by the parity that has `in_use` of its 14,116 ports in use.
ReuseDistance reuse_distance(std::size_t in_use, Parity parity, std::uint64_t seed) {
  const auto lane = make_lane();
  std::mt19937_64 random{seed};
  std::vector<std::uint16_t> held(kCapacity / 2);
  for (std::size_t i = 0; i < held.size(); ++i) {
    held[i] = static_cast<std::uint16_t>(kLow + 2 * i + index_of(parity));
  }
  std::shuffle(held.begin(), held.end(), random);
  const std::size_t free = held.size() - in_use;
  for (; held.size() > in_use; held.pop_back()) {
    put_port(free_map(*lane, static_cast<std::uint32_t>(held.size() % 3)), held.back());
  }
  set_rings(*lane, FreeRing{0, kFreeMaps - 1}.pack());
  std::vector<std::size_t> released_at(kPorts);
  std::vector<double> distances;
  const std::size_t steps = 20 * free;
  for (std::size_t step = 1; step <= steps; ++step) {
    std::uint16_t& slot = held[random() % held.size()];
    release(*lane, slot);
    released_at[slot] = step;
    const int port = claim(*lane, random());
    EXPECT_GE(port, 0);
    slot = static_cast<std::uint16_t>(port);
    // The first rounds still show how the lane was filled.
    if (released_at[slot] != 0 && step > steps / 2) {
      distances.push_back(static_cast<double>(step - released_at[slot]) /
                          static_cast<double>(free));
    }
  }
  std::sort(distances.begin(), distances.end());
  return {distances.front(), distances[distances.size() / 2]};
}

// In the three ages that fill_lane() makes and update_lane() keeps. The median cannot differ much
// from 1 (as many ports go as come); it is the shortest distance that the ring is there for.
TEST(Ring, ReuseDistanceInSteadyState) {
  for (const std::size_t in_use : {500U, 7058U, 12500U, 14000U}) {
    const Parity parity = in_use == 500 ? Parity::odd : Parity::even;
    const ReuseDistance distance = reuse_distance(in_use, parity, in_use);
    RecordProperty("median_" + std::to_string(in_use), std::to_string(distance.median));
    RecordProperty("smallest_" + std::to_string(in_use), std::to_string(distance.smallest));
    EXPECT_GT(distance.smallest, 0.25) << in_use << " ports in use";
    EXPECT_GT(distance.median, 0.6) << in_use << " ports in use";
  }
}

// Pearson's r of each claimed port and the one after it.
TEST(Unpredictability, ConsecutiveClaimsAreNotCorrelated) {
  const auto lane = make_lane();
  make_free(*lane, kLow, kHigh);
  std::mt19937_64 random{3};
  std::vector<double> ports;
  for (int i = 0; i < 50'000; ++i) {
    const int port = claim(*lane, random());
    ASSERT_GE(port, 0);
    ports.push_back(port);
    release(*lane, static_cast<std::uint16_t>(port));
  }
  double mean = 0;
  for (const double port : ports) mean += port / static_cast<double>(ports.size());
  double variance = 0;
  double covariance = 0;
  for (std::size_t i = 0; i + 1 < ports.size(); ++i) {
    variance += (ports[i] - mean) * (ports[i] - mean);
    covariance += (ports[i] - mean) * (ports[i + 1] - mean);
  }
  // Without correlation r has a standard deviation of 1/sqrt(n).
  EXPECT_LT(std::abs(covariance / variance), 5 / std::sqrt(static_cast<double>(ports.size())));
}

double chi_square(const std::vector<int>& counts) {
  double total = 0;
  for (const int count : counts) total += count;
  const double expected = total / static_cast<double>(counts.size());
  double sum = 0;
  for (const int count : counts) sum += (count - expected) * (count - expected) / expected;
  return sum;
}

// With all 65,536 ports in one map, group, word and bit are each chosen evenly.
TEST(Unpredictability, EachLevelIsChosenEvenly) {
  for (const Parity parity : {Parity::even, Parity::odd}) {
    const auto lane = make_lane();
    const PortMap map = free_map(*lane, 0);
    for (std::uint32_t port = 0; port < kPorts; ++port) {
      put_port(map, static_cast<std::uint16_t>(port));
    }
    std::mt19937_64 random{4};
    std::vector<int> groups(16);
    std::vector<int> words(32);
    std::vector<int> bits(64);
    for (int i = 0; i < 200'000; ++i) {
      const int number = take_port(map, parity, random());
      ASSERT_GE(number, 0);
      const auto port = static_cast<std::uint16_t>(number);
      ASSERT_EQ(parity_of(port), parity);
      ++groups[port / 4096];
      ++words[port / 128 % 32];
      ++bits[port / 2 % 64];
      put_port(map, port);
    }
    // The 99.99 % quantiles of chi-square with 15, 31 and 63 degrees of freedom.
    EXPECT_LT(chi_square(groups), 44.3);
    EXPECT_LT(chi_square(words), 69.2);
    EXPECT_LT(chi_square(bits), 114.6);
  }
}

// Few groups left, and not neighbours: still each as likely as the others.
TEST(Unpredictability, GroupsAreChosenEvenlyAmongThoseLeft) {
  const auto lane = make_lane();
  const PortMap map = free_map(*lane, 0);
  const std::vector<std::uint16_t> left = {0, 4096, 4 * 4096, 5 * 4096, 15 * 4096};
  for (const std::uint16_t port : left) put_port(map, port);
  std::mt19937_64 random{5};
  std::vector<int> counts(left.size());
  for (int i = 0; i < 50'000; ++i) {
    const auto port = static_cast<std::uint16_t>(take_any(map, random()));
    ++counts[static_cast<std::size_t>(std::find(left.begin(), left.end(), port) - left.begin())];
    put_port(map, port);
  }
  EXPECT_LT(chi_square(counts), 23.5);  // 99.99 % with 4 degrees of freedom
}

// Equal lanes in equal states part ways with the random number alone.
TEST(Unpredictability, TheRandomNumberDecides) {
  std::mt19937_64 random{6};
  PortSet first;
  for (int i = 0; i < 200; ++i) {
    const auto lane = make_lane();
    make_free(*lane, kLow, kLow + 2047);
    first.insert(static_cast<std::uint16_t>(claim(*lane, random())));
  }
  EXPECT_GT(first.size(), 100U);
}

}  // namespace
}  // namespace portpool::test
