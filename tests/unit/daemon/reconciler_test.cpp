// What poold makes of hints that somebody has meddled with, one step at a time.
#include "daemon/reconciler.h"

#include <gtest/gtest.h>

#include "base/address_text.h"
#include "lanes/segment.h"
#include "portpool/lane.h"
#include "support/sockets.h"
#include "unit/kernel/private_namespace.h"

namespace portpool::test {
namespace {

class Reconciling : public kernel::PrivateNamespace {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(PrivateNamespace::SetUp());
    ASSERT_NO_FATAL_FAILURE(set_sysctl("net/ipv4/ip_local_port_range", "20000 20063"));
    segment_.publish();
    start();
  }

  void start() {
    reconciler_ = std::make_unique<Reconciler>(segment_.writer(), std::vector{PoolRule{}},
                                               Strategy::port_range, [] {});
  }

  const SegmentView& view() const { return segment_.view(); }
  static LaneKey question(std::uint16_t port) { return {{}, *parse_address("127.0.0.1"), port}; }
  void ask(std::uint32_t slot, std::uint16_t port) {
    store_key(view().request(slot).key, question(port));
    view().request(slot).state = static_cast<std::uint32_t>(RequestState::ready);
  }
  bool is_answered(std::uint16_t port) const {
    LaneChoice choice;
    return find_lanes(view(), question(port), choice) && choice.count > 0;
  }
  void beat(std::uint64_t times) { segment_.header().heartbeat += times; }

  Segment segment_{{.lanes = 256, .shards = 1}, {}};
  std::unique_ptr<Reconciler> reconciler_;
};

TEST_F(Reconciling, ARequestIsAnswered) {
  ask(3, 9001);
  reconciler_->serve_requests();
  EXPECT_TRUE(is_answered(9001));
  EXPECT_EQ(view().request(3).state, static_cast<std::uint32_t>(RequestState::empty));
}

TEST_F(Reconciling, NoSlotStaysTakenWhateverStandsInIt) {
  for (const std::uint32_t state : {1U, 3U, 77U, ~0U}) {
    view().request(5).state = state;
    reconciler_->read_settings();
    EXPECT_EQ(view().request(5).state, state) << "a client may be about to write it";
    reconciler_->read_settings();
    EXPECT_EQ(view().request(5).state, static_cast<std::uint32_t>(RequestState::empty)) << state;
  }
}

// However much is asked for: in turns, and each slot has its own.
TEST_F(Reconciling, RequestsAreAnsweredInTurns) {
  const std::uint32_t slots = view().request_count();
  for (std::uint32_t i = 0; i < slots; ++i) ask(i, static_cast<std::uint16_t>(9001 + i));
  const Turn turn = reconciler_->serve_requests();
  EXPECT_TRUE(turn.more);
  EXPECT_GT(turn.pause.count(), 0);
  EXPECT_TRUE(is_answered(9001));
  const auto last = static_cast<std::uint16_t>(9000 + slots);
  EXPECT_FALSE(is_answered(last));
  int turns = 1;
  for (; !is_answered(last) && turns < 1000; ++turns) {
    // Who asks without end for the first slots' sake.
    for (std::uint32_t i = 0; i < 64; ++i) ask(i, static_cast<std::uint16_t>(1001 + i));
    reconciler_->serve_requests();
  }
  EXPECT_LE(turns, 16);
  for (int i = 0; i < 16; ++i) reconciler_->serve_requests();
  EXPECT_FALSE(reconciler_->serve_requests().more);
}

TEST_F(Reconciling, AttentionIsPaidInTurns) {
  set_sysctl("net/ipv4/ip_local_port_range", "20000 20999");
  start();
  constexpr std::uint32_t kLanes = 8;
  for (std::uint32_t i = 0; i < kLanes; ++i) ask(i, static_cast<std::uint16_t>(9001 + i));
  reconciler_->serve_requests();
  // All ports in doubt, in each lane.
  for (std::uint32_t i = 0; i < kLanes; ++i) {
    for (std::uint16_t port = 20000; port < 21000; ++port) {
      put_port(port_map(view().lane_hints(i), PortMapId::quarantine), port);
    }
    view().lane_hints(i).attention = 1;
  }
  const auto waiting = [&] {
    std::uint32_t count = 0;
    for (std::uint32_t i = 0; i < kLanes; ++i) count += view().lane_hints(i).attention;
    return count;
  };
  EXPECT_TRUE(reconciler_->serve_attention().more);
  EXPECT_EQ(waiting(), kLanes - 3);
  // Those that have been looked at ask again; the others come first.
  for (std::uint32_t i = 0; i < 3; ++i) view().lane_hints(i).attention = 1;
  reconciler_->serve_attention();
  reconciler_->serve_attention();
  for (std::uint32_t i = 3; i < kLanes; ++i) EXPECT_EQ(view().lane_hints(i).attention, 0U) << i;
  while (reconciler_->serve_attention().more) {
  }
  EXPECT_EQ(waiting(), 0U);
}

// With fail-fast, `full` makes calls fail. Who writes 0 into `last_used_beat` all the time cannot
// make it last.
TEST_F(Reconciling, AFullLaneIsLookedAtInEachPass) {
  const Descriptor listener(tcp_socket(AF_INET));
  ASSERT_EQ(bind_error(listener.get(), SocketAddress("127.0.0.1:9001")), 0);
  ASSERT_EQ(listen(listener.get(), 100), 0);
  std::vector<Descriptor> all;
  for (int i = 0; i < 64; ++i) {
    all.emplace_back(connected_socket(SocketAddress("127.0.0.1:9001")));
    ASSERT_TRUE(all.back()) << i;
  }
  ask(0, 9001);
  reconciler_->serve_requests();
  const LaneInfo& lane = view().lane_info(0);
  ASSERT_NE(lane.full, 0U);
  beat(1000);
  reconciler_->pass();  // one of those that look at every lane
  for (Descriptor& connection : all) close_with_reset(connection.release());
  view().lane_hints(0).last_used_beat = 0;
  reconciler_->pass();
  EXPECT_EQ(lane.full, 0U);
}

}  // namespace
}  // namespace portpool::test
