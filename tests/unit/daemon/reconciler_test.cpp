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

  Segment segment_{{.lanes = 8, .shards = 1}, {}};
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
