// Claim, release, put and remove by a single caller.
#include "portpool/port_map.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "unit/contract/lane_memory.h"

namespace portpool::test {
namespace {

constexpr std::uint16_t kEdges[] = {0,    1,     63,    64,    127,   4095,
                                    4096, 32767, 32768, 65471, 65472, 65535};

TEST(PortMap, PutFindsOutWhetherThePortWasThere) {
  const auto lane = make_lane();
  const PortMap map = free_map(*lane, 0);
  for (const std::uint16_t port : kEdges) {
    EXPECT_FALSE(has_port(map, port));
    EXPECT_TRUE(put_port(map, port));
    EXPECT_FALSE(put_port(map, port)) << port;
    EXPECT_TRUE(has_port(map, port));
  }
  EXPECT_EQ(ports_in(*lane, PortMapId::free0), PortSet(std::begin(kEdges), std::end(kEdges)));
}

TEST(PortMap, RemoveTellsWhoTookThePort) {
  const auto lane = make_lane();
  const PortMap map = free_map(*lane, 0);
  for (const std::uint16_t port : kEdges) put_port(map, port);
  for (const std::uint16_t port : kEdges) {
    EXPECT_TRUE(remove_port(map, port));
    EXPECT_FALSE(remove_port(map, port)) << port;
    EXPECT_FALSE(has_port(map, port));
  }
  EXPECT_EQ(map.top.load(), 0U);
  for (const auto& mid : map.mid) EXPECT_EQ(mid.load(), 0U);
}

TEST(PortMap, APortOfOneMapIsInNoOther) {
  const auto lane = make_lane();
  for (std::size_t i = 0; i < kPortMaps; ++i) {
    put_port(port_map(*lane, map_id(i)), static_cast<std::uint16_t>(i * 4096 + i));
  }
  for (std::size_t i = 0; i < kPortMaps; ++i) {
    EXPECT_EQ(ports_in(*lane, map_id(i)), PortSet{static_cast<std::uint16_t>(i * 4096 + i)});
  }
}

TEST(TakePort, ReachesEachOfThe65536PortsOnce) {
  const auto lane = make_lane();
  const PortMap map = free_map(*lane, 0);
  for (std::uint32_t port = 0; port < kPorts; ++port) {
    put_port(map, static_cast<std::uint16_t>(port));
  }
  std::mt19937_64 random{1};
  std::vector<bool> taken(kPorts);
  for (std::size_t n = 0; n < kPorts; ++n) {
    const int port = take_any(map, random());
    ASSERT_GE(port, 0) << "after " << n;
    ASSERT_LT(port, static_cast<int>(kPorts));
    ASSERT_FALSE(taken[static_cast<std::size_t>(port)]) << port;
    taken[static_cast<std::size_t>(port)] = true;
  }
  EXPECT_EQ(take_any(map, random()), -1);
}

// Whatever the random number, the one port is found.
TEST(TakePort, FindsALonePortAnywhere) {
  const auto lane = make_lane();
  const PortMap map = free_map(*lane, 0);
  std::mt19937_64 random{2};
  for (std::uint32_t port = 0; port < kPorts; port += 7) {
    for (const std::uint64_t number : {std::uint64_t{0}, ~std::uint64_t{0}, random()}) {
      put_port(map, static_cast<std::uint16_t>(port));
      ASSERT_EQ(take_any(map, number), static_cast<int>(port));
    }
  }
}

TEST(Claim, EmptyLaneHasNothing) {
  const auto lane = make_lane();
  std::mt19937_64 random{3};
  for (std::uint32_t ring = 0; ring < 16; ++ring) {
    set_rings(*lane, ring);
    for (int i = 0; i < 100; ++i) ASSERT_EQ(claim(*lane, random()), -1);
  }
}

TEST(Claim, TakesEveryFreePortAtEveryOccupancy) {
  const auto lane = make_lane();
  make_free(*lane, 0, kPorts - 1);
  std::mt19937_64 random{4};
  std::vector<bool> held(kPorts);
  for (std::size_t occupancy = 0; occupancy < kPorts; ++occupancy) {
    const int port = claim(*lane, random());
    ASSERT_GE(port, 0) << "with " << occupancy << " ports in use";
    ASSERT_FALSE(held[static_cast<std::size_t>(port)]);
    held[static_cast<std::size_t>(port)] = true;
  }
  ASSERT_EQ(claim(*lane, random()), -1);
}

// At the brink: one port is free, then none, again and again.
TEST(Claim, TheLastPortComesBackAtOnce) {
  const auto lane = make_lane();
  make_free(*lane, 32768, 60999);
  std::mt19937_64 random{5};
  while (claim(*lane, random()) >= 0) {
  }
  for (int i = 0; i < 10'000; ++i) {
    const auto port = static_cast<std::uint16_t>(32768 + random() % 28232);
    release(*lane, port);
    ASSERT_EQ(claim(*lane, random()), port);
    ASSERT_EQ(claim(*lane, random()), -1);
  }
}

// Up and down between full and empty with a random walk; a claim succeeds exactly when a port is
// free.
TEST(Claim, SucceedsExactlyWhenAPortIsFree) {
  const auto lane = make_lane();
  constexpr std::size_t kRange = 500;
  make_free(*lane, 40000, 40000 + kRange - 1);
  std::mt19937_64 random{6};
  std::vector<std::uint16_t> held;
  for (int step = 0; step < 300'000; ++step) {
    const bool upwards = step / 3000 % 2 == 0;
    if (random() % 8 < (upwards ? 5 : 3)) {
      const int port = claim(*lane, random());
      ASSERT_EQ(port >= 0, held.size() < kRange) << "step " << step;
      if (port >= 0) held.push_back(static_cast<std::uint16_t>(port));
    } else if (!held.empty()) {
      std::swap(held[random() % held.size()], held.back());
      release(*lane, held.back());
      held.pop_back();
    }
  }
}

TEST(Claim, FreePortsFirstThenTimeWaitOldestFirst) {
  const auto lane = make_lane();
  put_port(reuse_map(*lane, 2), 5002);
  put_port(reuse_map(*lane, 0), 5000);
  put_port(free_map(*lane, 0), 4000);
  put_port(reuse_map(*lane, 1), 5001);
  std::mt19937_64 random{7};
  for (const int expected : {4000, 5000, 5001, 5002, -1}) {
    EXPECT_EQ(claim(*lane, random()), expected);
  }
}

// The kernel's connect() leaves one parity to bind(0) and to services until the other is used up.
TEST(Claim, OneParityFirstTheOtherWhenThatIsUsedUp) {
  for (const Parity first : {Parity::even, Parity::odd}) {
    const auto lane = make_lane();
    make_free(*lane, 32768, 60999);
    std::mt19937_64 random{9};
    for (int i = 0; i < 28232; ++i) {
      const int port = claim(*lane, first, random());
      ASSERT_GE(port, 0);
      const Parity expected = i < 14116 ? first : other(first);
      ASSERT_EQ(parity_of(static_cast<std::uint32_t>(port)), expected) << "claim " << i;
    }
    ASSERT_EQ(claim(*lane, first, random()), -1);
    // One of the first parity that comes back is preferred again.
    release(*lane, 40001);
    release(*lane, 40000);
    const int preferred = first == Parity::even ? 40000 : 40001;
    EXPECT_EQ(claim(*lane, first, random()), preferred);
  }
}

// The last port of a parity is found as fast as any: also beside full words of the other.
TEST(Claim, ALonePortOfAParityAmongAllOfTheOther) {
  const auto lane = make_lane();
  for (std::uint32_t port = 0; port < kPorts; port += 2) {
    put_port(free_map(*lane, 0), static_cast<std::uint16_t>(port));
  }
  std::mt19937_64 random{10};
  for (std::uint32_t port = 1; port < kPorts; port += 1000) {
    put_port(free_map(*lane, 0), static_cast<std::uint16_t>(port));
    ASSERT_EQ(take_port(free_map(*lane, 0), Parity::odd, random()), static_cast<int>(port));
    ASSERT_EQ(take_port(free_map(*lane, 0), Parity::odd, random()), -1);
  }
}

// Free ports of either parity come before TIME_WAIT, which is the connection's own risk.
TEST(Claim, TheOtherParityBeforeTimeWaitOfTheFirst) {
  const auto lane = make_lane();
  put_port(reuse_map(*lane, 0), 5000);
  put_port(reuse_map(*lane, 0), 5001);
  put_port(reuse_map(*lane, 1), 5002);
  put_port(free_map(*lane, 0), 4001);
  std::mt19937_64 random{11};
  for (const int expected : {4001, 5000, 5001, 5002, -1}) {
    EXPECT_EQ(claim(*lane, Parity::even, random()), expected);
  }
}

TEST(PortPlace, EachPortHasABitOfItsOwn) {
  std::vector<bool> seen(kPorts);
  for (std::size_t word = 0; word < kPortWords; ++word) {
    for (unsigned bit = 0; bit < 64; ++bit) {
      const std::uint16_t port = port_at(word, bit);
      ASSERT_FALSE(seen[port]);
      seen[port] = true;
      ASSERT_EQ(word_of_port(port), word);
      ASSERT_EQ(bit_of_port(port), std::uint64_t{1} << bit);
      ASSERT_EQ(parity_of(port), parity_of(static_cast<std::uint32_t>(word)));
    }
  }
}

TEST(Claim, NeverTakesAQuarantinedRejectedOrBlockedPort) {
  const auto lane = make_lane();
  put_port(port_map(*lane, PortMapId::quarantine), 1000);
  put_port(port_map(*lane, PortMapId::rejected), 1001);
  put_port(port_map(*lane, PortMapId::blocked), 1002);
  std::mt19937_64 random{8};
  for (int i = 0; i < 100; ++i) EXPECT_EQ(claim(*lane, random()), -1);
}

}  // namespace
}  // namespace portpool::test
