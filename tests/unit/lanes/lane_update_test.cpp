// One transition at a time: what fill_lane(), update_lane(), sweep_rejected() and count_lane() do
// with a port.
#include "lanes/lane_update.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "unit/lanes/lane_model.h"

namespace portpool::test {
namespace {

constexpr std::uint16_t kPort = 40100;

class LaneUpdate : public ::testing::Test {
 protected:
  PortMap map(PortMapId id) { return port_map(model_.lane(), id); }
  void put(PortMapId id) { put_port(map(id), kPort); }
  // As a claim does, but of this port.
  void take() {
    for (std::size_t i = 0; i < kPortMaps; ++i) remove_port(map(map_id(i)), kPort);
  }
  std::string place() { return model_.place(kPort); }

  LaneModel model_{40030, 40400};
};

TEST_F(LaneUpdate, FillPutsEachPortInItsPlace) {
  std::uint16_t port = model_.low();
  for (const Socket socket : {Socket::used, Socket::waiting, Socket::reusable2, Socket::reusable1,
                              Socket::reusable0, Socket::none}) {
    for (int i = 0; i < 20; ++i) model_.set(port++, socket);
  }
  for (int i = 0; i < 200; i += 3) model_.block(static_cast<std::uint16_t>(model_.low() + i), true);
  model_.fill();
  EXPECT_EQ(model_.misplaced(), std::vector<std::string>{});
}

TEST_F(LaneUpdate, FillMakesThreeAgesAndAnEmptyYoungest) {
  model_.fill();
  for (const std::atomic<std::uint32_t>& word : model_.lane().ring) {
    const FreeRing ring = FreeRing::unpack(word);
    EXPECT_EQ(ring.oldest, 0U);
    EXPECT_EQ(ring.youngest, 3U);
  }
  for (std::size_t i = 0; i < 3; ++i) EXPECT_GT(ports_in(model_.lane(), map_id(i)).size(), 60U);
  EXPECT_TRUE(ports_in(model_.lane(), map_id(3)).empty());
}

TEST(LaneUpdateRange, StaysWithinIt) {
  for (const auto& [low, high] :
       {std::pair{0, 65535}, std::pair{1, 65535}, std::pair{40000, 40000}, std::pair{63, 64},
        std::pair{64, 127}, std::pair{65, 126}, std::pair{65535, 65535}}) {
    LaneModel model(static_cast<std::uint16_t>(low), static_cast<std::uint16_t>(high));
    for (std::uint32_t port = 0; port < kPorts; port += 5) {
      model.block(static_cast<std::uint16_t>(port), true);
    }
    model.fill();
    model.reconcile();
    EXPECT_EQ(model.misplaced(), std::vector<std::string>{}) << low << "-" << high;
    std::size_t bits = 0;
    for (std::size_t i = 0; i < kPortMaps; ++i) bits += ports_in(model.lane(), map_id(i)).size();
    EXPECT_EQ(bits, static_cast<std::size_t>(high - low + 1)) << low << "-" << high;
  }
}

TEST_F(LaneUpdate, AQuietLaneDoesNotChange) {
  model_.set(kPort, Socket::used);
  model_.set(kPort + 1, Socket::waiting);
  model_.block(kPort + 2, true);
  model_.fill();
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(model_.reconcile().total(), 0U);
    EXPECT_EQ(model_.misplaced(), std::vector<std::string>{});
  }
}

TEST_F(LaneUpdate, AUsedPortIsWithdrawnFromEveryMap) {
  model_.fill();
  model_.set(kPort, Socket::used);
  EXPECT_EQ(model_.reconcile().withdrawn, 1U);
  EXPECT_EQ(place(), "");
  for (std::size_t i = 0; i < static_cast<std::size_t>(PortMapId::blocked); ++i) {
    put(map_id(i));
    model_.reconcile();
    EXPECT_EQ(place(), "") << "from map " << i;
  }
}

TEST_F(LaneUpdate, TimeWaitGoesThroughItsAgesAndBecomesFree) {
  model_.fill();
  model_.set(kPort, Socket::waiting);
  model_.reconcile();
  EXPECT_EQ(place(), "quarantine");
  for (const auto& [socket, where] :
       {std::pair{Socket::reusable2, "reuse2"}, std::pair{Socket::reusable1, "reuse1"},
        std::pair{Socket::reusable0, "reuse0"}, std::pair{Socket::none, "free"}}) {
    model_.set(kPort, socket);
    EXPECT_EQ(model_.reconcile().returned, 1U) << where;
    EXPECT_EQ(place(), where);
  }
}

TEST_F(LaneUpdate, AWaitingPortIsQuarantinedWhereverItStood) {
  model_.fill();
  model_.set(kPort, Socket::waiting);
  for (std::size_t i = 0; i < static_cast<std::size_t>(PortMapId::blocked); ++i) {
    take();
    put(map_id(i));
    model_.reconcile();
    EXPECT_EQ(place(), "quarantine") << "from map " << i;
  }
  take();
  model_.reconcile();
  EXPECT_EQ(place(), "quarantine") << "from no map";
}

TEST_F(LaneUpdate, ALeakedPortIsFreedWhenSeenTwice) {
  model_.fill();
  take();
  EXPECT_EQ(model_.reconcile().total(), 0U);
  EXPECT_EQ(place(), "") << "the client may be about to connect";
  EXPECT_EQ(model_.reconcile().returned, 1U);
  EXPECT_EQ(place(), "free");
}

// Once: it took two passes, however long ago the last client had ended.
TEST_F(LaneUpdate, ALeakedPortIsFreedAtOnceWhereNobodyClaims) {
  model_.fill();
  take();
  model_.claims(Claims::none);
  EXPECT_EQ(model_.reconcile().returned, 1U);
  EXPECT_EQ(place(), "free");
}

// What was claimed after the dump began is somebody's all the same.
TEST_F(LaneUpdate, APortClaimedDuringTheDumpIsKeptWhereNobodyClaimedBefore) {
  model_.fill();
  model_.claims(Claims::none);
  model_.begin();
  model_.dump(model_.low(), model_.high());
  take();
  EXPECT_EQ(model_.finish().total(), 0U);
  EXPECT_EQ(place(), "");
}

// A promise may stand for long before the program connects.
TEST_F(LaneUpdate, AClaimThatIsKeptIsNoLeak) {
  model_.fill();
  take();
  model_.claims(Claims::kept);
  for (int pass = 0; pass < 5; ++pass) EXPECT_EQ(model_.reconcile().total(), 0U);
  EXPECT_EQ(place(), "");
  // It ends when seen at two passes that do not keep it, with others in between.
  model_.claims(Claims::brief);
  EXPECT_EQ(model_.reconcile().total(), 0U);
  model_.claims(Claims::kept);
  EXPECT_EQ(model_.reconcile().total(), 0U);
  model_.claims(Claims::brief);
  EXPECT_EQ(model_.reconcile().returned, 1U);
  EXPECT_EQ(place(), "free");
}

TEST_F(LaneUpdate, APromisedPortThatASocketHasCanBePromisedAgain) {
  model_.make_promises();
  model_.fill();
  take();
  model_.claims(Claims::kept);
  model_.reconcile();
  EXPECT_EQ(place(), "");
  model_.set(kPort, Socket::used);
  EXPECT_EQ(model_.reconcile().returned, 1U);
  EXPECT_EQ(place(), "reuse0");
  model_.set(kPort, Socket::none);
  model_.reconcile();
  EXPECT_EQ(place(), "free");
}

TEST_F(LaneUpdate, ALeakedReusablePortGoesToItsAge) {
  model_.fill();
  take();
  model_.set(kPort, Socket::reusable1);
  model_.reconcile();
  EXPECT_EQ(place(), "");
  model_.reconcile();
  EXPECT_EQ(place(), "reuse1");
}

TEST_F(LaneUpdate, AConnectionBetweenTwoSightingsStartsThemAnew) {
  model_.fill();
  take();
  model_.reconcile();
  model_.set(kPort, Socket::used);
  model_.reconcile();
  model_.set(kPort, Socket::none);
  model_.reconcile();
  EXPECT_EQ(place(), "") << "seen once since";
  model_.reconcile();
  EXPECT_EQ(place(), "free");
}

TEST_F(LaneUpdate, APortClaimedDuringEachDumpIsNeverTakenForLeaked) {
  model_.fill();
  for (int i = 0; i < 5; ++i) {
    model_.begin();
    model_.dump(model_.low(), model_.high());
    take();
    EXPECT_EQ(model_.finish().total(), 0U);
    EXPECT_EQ(place(), "");
    release(model_.lane(), kPort);
  }
}

// The dump was before the close: what it says of the port is older than the quarantine.
TEST_F(LaneUpdate, APortQuarantinedDuringTheDumpStaysThereForNow) {
  model_.fill();
  take();
  model_.begin();
  model_.dump(model_.low(), model_.high());
  put(PortMapId::quarantine);
  model_.finish();
  EXPECT_EQ(place(), "quarantine");
  model_.reconcile();
  EXPECT_EQ(place(), "free");
}

TEST_F(LaneUpdate, APortFreedDuringTheDumpIsCorrectedByTheNext) {
  model_.fill();
  take();
  model_.set(kPort, Socket::used);
  model_.begin();
  model_.dump(model_.low(), model_.high());
  model_.set(kPort, Socket::none);
  release(model_.lane(), kPort);
  model_.finish();
  for (int i = 0; i < 2; ++i) model_.reconcile();
  EXPECT_EQ(place(), "free");
}

TEST_F(LaneUpdate, OfDoublesTheLessClaimableStays) {
  model_.fill();
  take();
  put(PortMapId::free0);
  put(PortMapId::rejected);
  model_.reconcile();
  EXPECT_EQ(place(), "rejected");

  model_.set(kPort, Socket::waiting);
  for (std::size_t i = 0; i < kPortMaps; ++i) put(map_id(i));
  model_.reconcile();
  model_.reconcile();
  EXPECT_EQ(place(), "quarantine");
}

TEST_F(LaneUpdate, OfTwoFreeMapsTheYoungerIndexStays) {
  model_.fill();
  for (std::size_t i = 0; i < kFreeMaps; ++i) put(map_id(i));
  model_.reconcile();
  EXPECT_EQ(place(), "free");
}

TEST_F(LaneUpdate, ABlockedPortLeavesEveryOtherMap) {
  model_.block(kPort, true);
  for (std::size_t i = 0; i < kPortMaps; ++i) {
    take();
    put(map_id(i));
    model_.reconcile();
    EXPECT_EQ(place(), "blocked") << "from map " << i;
  }
}

TEST_F(LaneUpdate, BlockedWinsOverUsed) {
  model_.block(kPort, true);
  model_.set(kPort, Socket::used);
  model_.fill();
  model_.reconcile();
  EXPECT_EQ(place(), "blocked");
}

// Unblocked, it is in no map, and waits for its two sightings: free at the third pass.
TEST_F(LaneUpdate, APortNoLongerBlockedBecomesFree) {
  model_.block(kPort, true);
  model_.fill();
  model_.block(kPort, false);
  model_.reconcile();
  EXPECT_EQ(place(), "");
  model_.reconcile();
  model_.reconcile();
  EXPECT_EQ(place(), "free");
}

TEST_F(LaneUpdate, APortNoLongerBlockedButWaitingIsQuarantined) {
  model_.block(kPort, true);
  model_.set(kPort, Socket::waiting);
  model_.fill();
  model_.block(kPort, false);
  model_.reconcile();
  EXPECT_EQ(place(), "quarantine");
}

TEST_F(LaneUpdate, ARejectedPortStaysForAWholeSweep) {
  model_.fill();
  take();
  put(PortMapId::rejected);
  model_.reconcile();
  EXPECT_EQ(place(), "rejected");
  sweep_rejected(model_.lane(), model_.record());
  EXPECT_EQ(place(), "rejected");
  sweep_rejected(model_.lane(), model_.record());
  EXPECT_EQ(place(), "free");
}

TEST_F(LaneUpdate, ARejectedReusablePortIsNotOfferedBeforeTheSweep) {
  model_.fill();
  take();
  put(PortMapId::rejected);
  model_.set(kPort, Socket::reusable0);
  model_.reconcile();
  EXPECT_EQ(place(), "rejected");
}

TEST_F(LaneUpdate, RepairsUpperLevels) {
  model_.fill();
  for (auto& top : model_.lane().top) top = 0;
  for (auto& mid : model_.lane().mid) {
    for (auto& word : mid) word = 0;
  }
  model_.reconcile();
  EXPECT_GE(claim(model_.lane(), 1), 0);
}

// Once: a claim that meets maps which look empty turns the ring past them. Their ports are then
// out of play, and no reconcile brings them back (see Stranded in port_map_damage_test.cpp).
TEST_F(LaneUpdate, PortsThatAClaimHasPassedByReturn) {
  model_.fill();
  for (auto& top : model_.lane().top) top = 0;
  EXPECT_EQ(claim(model_.lane(), 1), -1);
  for (int i = 0; i < 3; ++i) model_.reconcile();
  EXPECT_GE(claim(model_.lane(), 1), 0);
}

// After a burst of releases all free ports may be of one age; the update begins a new one.
TEST_F(LaneUpdate, KeepsAgesApart) {
  model_.fill();
  std::uint64_t random = 1;
  std::vector<std::uint16_t> held;
  for (int port = 0; (port = claim(model_.lane(), random += 7919)) >= 0;) {
    held.push_back(static_cast<std::uint16_t>(port));
  }
  for (const std::uint16_t port : held) release(model_.lane(), port);
  const auto ring = [&](Parity parity) { return FreeRing::unpack(ring_of(model_.lane(), parity)); };
  const FreeRing before[] = {ring(Parity::even), ring(Parity::odd)};
  model_.reconcile();
  for (const Parity parity : {Parity::even, Parity::odd}) {
    EXPECT_EQ(ring(parity).oldest, before[index_of(parity)].oldest);
    EXPECT_EQ(ring(parity).youngest, (before[index_of(parity)].youngest + 1) % kFreeMaps);
  }
  const FreeRing after[] = {ring(Parity::even), ring(Parity::odd)};
  model_.reconcile();
  for (const Parity parity : {Parity::even, Parity::odd}) {
    EXPECT_EQ(ring(parity).youngest, after[index_of(parity)].youngest) << "only once";
  }
}

TEST_F(LaneUpdate, OfSinglePortsOnlyTheseChange) {
  model_.fill();
  take();
  const auto other = static_cast<std::uint16_t>(kPort + 1);
  for (const std::uint16_t port : {kPort, other}) {
    for (std::size_t i = 0; i < kFreeMaps; ++i) remove_port(map(map_id(i)), port);
    put_port(map(PortMapId::quarantine), port);
  }
  EXPECT_EQ(model_.reconcile_only({kPort}).returned, 1U);
  EXPECT_EQ(place(), "free");
  EXPECT_EQ(model_.place(other), "quarantine");
  model_.set(other, Socket::reusable1);
  model_.reconcile_only({other});
  EXPECT_EQ(model_.place(other), "reuse1");
}

// A look at one port is no second sighting of its neighbour.
TEST_F(LaneUpdate, SightingsAreKeptPerPort) {
  model_.fill();
  take();
  model_.reconcile();
  model_.reconcile_only({static_cast<std::uint16_t>(kPort + 1)});
  EXPECT_EQ(place(), "");
  model_.reconcile_only({kPort});
  EXPECT_EQ(place(), "free");
}

TEST_F(LaneUpdate, ListsQuarantinedPorts) {
  model_.set(kPort, Socket::waiting);
  model_.set(model_.low(), Socket::waiting);
  model_.set(model_.high(), Socket::waiting);
  model_.fill();
  const auto list = [&](std::size_t limit) {
    return quarantined_ports(model_.lane(), model_.record().range, limit);
  };
  EXPECT_EQ(list(10), (std::vector<std::uint16_t>{model_.low(), kPort, model_.high()}));
  EXPECT_EQ(list(2).size(), 2U);
  EXPECT_EQ(list(0).size(), 0U);
}

// Claimable, and seen in use: that is for the kernel to say once more.
TEST_F(LaneUpdate, ListsContradictedPorts) {
  model_.fill();
  for (const std::uint16_t port : {model_.low(), kPort, model_.high()}) {
    model_.set(port, Socket::used);
  }
  const auto list = [&](std::size_t limit) {
    return contradicted_ports(model_.lane(), model_.truth(), limit);
  };
  model_.begin();
  model_.dump(model_.low(), model_.high());
  EXPECT_EQ(list(10), (std::vector<std::uint16_t>{model_.low(), kPort, model_.high()}));
  EXPECT_EQ(list(2).size(), 2U);
  take();  // a client has it
  EXPECT_EQ(list(10), (std::vector<std::uint16_t>{model_.low(), model_.high()}));
  put(PortMapId::quarantine);
  EXPECT_EQ(list(10).size(), 2U);
  model_.finish();
  EXPECT_EQ(list(10).size(), 0U);
}

TEST_F(LaneUpdate, ANarrowerRangeTakesThePortsOutsideIt) {
  model_.set(40040, Socket::waiting);
  model_.block(40041, true);
  model_.fill();
  const kernel::PortRange narrow{40099, 40130};
  drop_outside(model_.lane(), narrow);
  for (std::uint32_t port = model_.low(); port <= model_.high(); ++port) {
    const bool inside = port >= narrow.low && port <= narrow.high;
    EXPECT_EQ(model_.place(static_cast<std::uint16_t>(port)), inside ? "free" : "") << port;
  }
}

TEST_F(LaneUpdate, AWiderRangeIsFilledByTheNextUpdates) {
  LaneModel model(40100, 40110);
  model.fill();
  drop_outside(model.lane(), {40000, 40300});
  model.record().range = {40000, 40300};
  model.set(40005, Socket::used);
  for (int i = 0; i < 2; ++i) model.reconcile();
  EXPECT_EQ(model.misplaced(), std::vector<std::string>{});
}

TEST_F(LaneUpdate, CountsEachKind) {
  const std::pair<Socket, int> kinds[] = {{Socket::used, 7},
                                          {Socket::waiting, 5},
                                          {Socket::reusable2, 3},
                                          {Socket::reusable1, 2},
                                          {Socket::reusable0, 4}};
  std::uint16_t port = model_.low();
  for (const auto& [socket, n] : kinds) {
    for (int i = 0; i < n; ++i) model_.set(port++, socket);
  }
  for (int i = 0; i < 11; ++i) model_.block(port++, true);
  model_.fill();
  remove_port(map(PortMapId::free0), model_.high());
  remove_port(map(map_id(1)), model_.high());
  remove_port(map(map_id(2)), model_.high());
  put_port(map(PortMapId::rejected), model_.high());
  const LaneCounts counts = count_lane(model_.lane(), model_.record().range);
  EXPECT_EQ(counts.capacity, 371U);
  EXPECT_EQ(counts.in_use, 7U);
  EXPECT_EQ(counts.quarantined, 5U + 1U);
  EXPECT_EQ(counts.reusable, 9U);
  EXPECT_EQ(counts.blocked, 11U);
  EXPECT_EQ(counts.free, 371U - 7 - 6 - 11);
  const LaneCounts marked =
      count_lane(model_.lane(), model_.record().range, CountFrom::marked_maps);
  EXPECT_EQ(marked.in_use, counts.in_use);
  EXPECT_EQ(marked.quarantined, counts.quarantined);
  EXPECT_EQ(marked.reusable, counts.reusable);
  EXPECT_EQ(marked.blocked, counts.blocked);
  EXPECT_EQ(marked.free, counts.free);
}

TEST_F(LaneUpdate, CountsOfADamagedLaneStayFinite) {
  for (auto& words : model_.lane().words) {
    for (auto& word : words) word = ~std::uint64_t{0};
  }
  EXPECT_EQ(count_lane(model_.lane(), model_.record().range).in_use, 0U);
  EXPECT_EQ(count_lane(model_.lane(), {2, 1}).capacity, 0U);
}

// Once: a client's scribble outside the range stays claimable for good: update_lane() looks
// only at the range's words, and there only at the range's bits.
TEST_F(LaneUpdate, RemovesPortsOutsideTheRange) {
  model_.fill();
  put_port(map(PortMapId::free0), 80);
  put_port(map(PortMapId::free0), static_cast<std::uint16_t>(model_.low() - 1));
  for (int i = 0; i < 3; ++i) model_.reconcile();
  EXPECT_EQ(model_.place(80), "");
  EXPECT_EQ(model_.place(static_cast<std::uint16_t>(model_.low() - 1)), "");
}

// All maps filled with ones, as the worst client may leave them: the kernel's table prevails.
TEST_F(LaneUpdate, RecoversFromALaneFullOfOnes) {
  model_.set(kPort, Socket::used);
  model_.set(kPort + 1, Socket::waiting);
  model_.set(kPort + 2, Socket::reusable1);
  model_.fill();
  for (auto& words : model_.lane().words) {
    for (auto& word : words) word = ~std::uint64_t{0};
  }
  for (int i = 0; i < 3; ++i) model_.reconcile();
  EXPECT_EQ(model_.misplaced(), std::vector<std::string>{});
}

}  // namespace
}  // namespace portpool::test
