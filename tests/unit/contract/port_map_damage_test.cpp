// What dead and hostile clients leave behind.
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "unit/contract/lane_memory.h"

namespace portpool::test {
namespace {

constexpr std::uint16_t kPort = 45678;
constexpr std::uint32_t kWord = word_of_port(kPort);
constexpr std::uint32_t kGroup = kWord / 64;

void expect_levels_agree(PortMap map) {
  for (std::uint32_t word = 0; word < kPortWords; ++word) {
    const bool marked = (map.mid[word / 64].load() & detail::bit_of(word)) != 0;
    EXPECT_EQ(marked, map.words[word].load() != 0) << "word " << word;
  }
  for (std::uint32_t group = 0; group < kPortMidWords; ++group) {
    for (const Parity parity : {Parity::even, Parity::odd}) {
      EXPECT_EQ((map.top.load() & detail::top_bit(group, parity)) != 0,
                (map.mid[group].load() & detail::mid_bits(parity)) != 0)
          << "group " << group;
    }
  }
}

// A process that dies inside put_port() has set the word and not yet the level above.
TEST(Repair, ReachesAPortWhoseWordAloneIsSet) {
  const auto lane = make_lane();
  const PortMap map = free_map(*lane, 0);
  map.words[kWord] = bit_of_port(kPort);
  EXPECT_EQ(take_any(map, 1), -1);
  repair(map, 0, kPortWords - 1);
  expect_levels_agree(map);
  EXPECT_EQ(take_any(map, 1), kPort);
}

TEST(Repair, ReachesAPortWhoseTopBitIsMissing) {
  const auto lane = make_lane();
  const PortMap map = free_map(*lane, 0);
  map.words[kWord] = bit_of_port(kPort);
  map.mid[kGroup] = detail::bit_of(kWord);
  EXPECT_EQ(take_any(map, 1), -1);
  repair(map, 0, kPortWords - 1);
  expect_levels_agree(map);
  EXPECT_EQ(take_any(map, 1), kPort);
}

TEST(Repair, ReachesAPortHiddenBesideOthersOfItsGroup) {
  const auto lane = make_lane();
  const PortMap map = free_map(*lane, 0);
  put_port(map, kGroup * 4096);
  map.words[kWord] = bit_of_port(kPort);
  repair(map, 0, kPortWords - 1);
  expect_levels_agree(map);
  EXPECT_GE(take_any(map, 1), 0);
  EXPECT_GE(take_any(map, 1), 0);
  EXPECT_EQ(take_any(map, 1), -1);
}

// The word's next put by somebody else mends nothing: it was not empty.
TEST(Repair, IsNeededEvenAfterAFurtherPut) {
  const auto lane = make_lane();
  const PortMap map = free_map(*lane, 0);
  map.words[kWord] = bit_of_port(kPort);
  put_port(map, kPort + 2);
  repair(map, 0, kPortWords - 1);
  PortSet taken;
  for (int port = 0; (port = take_any(map, 1)) >= 0;) {
    taken.insert(static_cast<std::uint16_t>(port));
  }
  EXPECT_EQ(taken, (PortSet{kPort, kPort + 2}));
}

// A process that dies inside take_any() leaves upper levels that promise too much.
TEST(Repair, ATakersDeathCostsOnlySteps) {
  const auto lane = make_lane();
  const PortMap map = free_map(*lane, 0);
  put_port(map, kPort);
  put_port(map, 6);
  map.words[kWord] = 0;
  EXPECT_EQ(take_any(map, 1), 6);
  EXPECT_EQ(take_any(map, 1), -1);
  repair(map, 0, kPortWords - 1);
  expect_levels_agree(map);
}

TEST(Repair, ChangesNoWord) {
  const auto lane = make_lane();
  std::mt19937_64 random{1};
  const PortMap map = free_map(*lane, 0);
  for (auto& word : map.words) word = random() % 4 == 0 ? random() & random() & random() : 0;
  for (auto& mid : map.mid) mid = random();
  map.top = 0;
  const PortSet before = ports_in(*lane, PortMapId::free0);
  repair(map, 0, kPortWords - 1);
  EXPECT_EQ(ports_in(*lane, PortMapId::free0), before);
  PortSet taken;
  for (int port = 0; (port = take_any(map, random())) >= 0;) {
    taken.insert(static_cast<std::uint16_t>(port));
  }
  EXPECT_EQ(taken, before);
}

TEST(Repair, StaysWithinItsWords) {
  const auto lane = make_lane();
  const PortMap map = free_map(*lane, 0);
  for (const std::uint32_t word : {kWord - 1, kWord, kWord + 1}) map.words[word] = 1;
  repair(map, kWord, kWord);
  EXPECT_EQ(map.mid[kGroup].load(), detail::bit_of(kWord));
  EXPECT_EQ(take_any(map, 1), port_at(kWord, 0));
}

// Random bytes in all maps: claims end, and stay within the ports there are.
TEST(Garbage, ClaimTerminatesWithinThePorts) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const auto lane = make_lane();
    std::mt19937_64 random{seed};
    // Sparse words under full upper levels are the worst case for a taker.
    for (auto& map : lane->words) {
      for (auto& word : map) word = random() % (seed * seed) == 0 ? random() : 0;
    }
    for (auto& map : lane->mid) {
      for (auto& mid : map) mid = random();
    }
    for (auto& top : lane->top) top = static_cast<std::uint32_t>(random());
    for (int i = 0; i < 20'000; ++i) {
      if (i % 100 == 0) set_rings(*lane, static_cast<std::uint32_t>(random()));
      const int port = claim(*lane, random());
      ASSERT_GE(port, -1);
      ASSERT_LT(port, static_cast<int>(kPorts));
    }
  }
}

TEST(Garbage, UpperLevelsThatLieAboutAnEmptyMap) {
  const auto lane = make_lane();
  for (auto& top : lane->top) top = ~std::uint32_t{0};
  for (auto& map : lane->mid) {
    for (auto& mid : map) mid = ~std::uint64_t{0};
  }
  std::mt19937_64 random{3};
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(claim(*lane, random()), -1);
}

TEST(Garbage, AnyRingLetsReleaseStayWithinTheFreeMaps) {
  std::mt19937_64 random{4};
  for (int i = 0; i < 200; ++i) {
    const auto lane = make_lane();
    set_rings(*lane, static_cast<std::uint32_t>(random()));
    release(*lane, kPort);
    EXPECT_EQ(free_ports(*lane), PortSet{kPort});
    EXPECT_EQ(claim(*lane, random()), kPort);
  }
}

// A release that read the ring, slept, and went on after the ring had turned puts its port into a
// free map that is out of play.
TEST(Stranded, APortInAMapOutOfPlayReturnsWithTheTurningRing) {
  const auto lane = make_lane();
  std::mt19937_64 random{5};
  set_rings(*lane, FreeRing{1, 1}.pack());
  put_port(free_map(*lane, 0), kPort);
  put_port(free_map(*lane, 1), 100);
  PortSet seen;
  for (int i = 0; i < 8; ++i) {
    const int port = claim(*lane, random());
    ASSERT_GE(port, 0);
    seen.insert(static_cast<std::uint16_t>(port));
    release(*lane, static_cast<std::uint16_t>(port));
  }
  EXPECT_EQ(seen, (PortSet{100, kPort}));
}

// As above, but with no other port free: nothing turns the ring.
//
// Once: claim() gives up when the ring has one map in play and that one is empty, or after the
// maps in play, though a port stands in another free map. It stays there, counted as free, until
// some other port is released; no reconcile moves it.
TEST(Stranded, TheLastFreePortIsClaimableInWhicheverMapItStands) {
  std::mt19937_64 random{6};
  for (std::uint32_t word = 0; word < 16; ++word) {
    for (std::uint32_t map = 0; map < kFreeMaps; ++map) {
      const auto lane = make_lane();
      set_rings(*lane, word);
      put_port(free_map(*lane, map), kPort);
      EXPECT_EQ(claim(*lane, random()), kPort) << "ring " << word << ", map " << map;
    }
  }
}

}  // namespace
}  // namespace portpool::test
