// What poold makes of hints that somebody has meddled with, one step at a time.
#include "daemon/reconciler.h"

#include <gtest/gtest.h>

#include "base/address_text.h"
#include "lanes/segment.h"
#include "portpool/lane.h"
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

}  // namespace
}  // namespace portpool::test
