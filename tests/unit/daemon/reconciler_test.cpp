// What poold makes of hints that somebody has meddled with, one step at a time.
#include "daemon/reconciler.h"

#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <bit>
#include <fstream>
#include <functional>
#include <sstream>

#include "base/address_text.h"
#include "lanes/lane_update.h"
#include "lanes/segment.h"
#include "portpool/lane.h"
#include "support/eventually.h"
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
    reconciler_.reset();
    loop_ = std::make_unique<EventLoop>();
    reconciler_ = std::make_unique<Reconciler>(*loop_, segment_.writer(), std::vector{PoolRule{}},
                                               Strategy::port_range);
    const int timer = loop_->add_timer([this] {
      beat(1);
      if (condition_() || std::chrono::steady_clock::now() > deadline_) loop_->stop();
    });
    loop_->repeat_timer(timer, std::chrono::milliseconds(2));
  }

  // Runs the loop until `condition` holds; false at the deadline. The heart beats fast meanwhile.
  bool until(std::function<bool()> condition) {
    condition_ = std::move(condition);
    deadline_ = std::chrono::steady_clock::now() + kDeadline;
    if (!condition_()) loop_->run();
    return condition_();
  }
  std::uint64_t passes() const { return view().header().reconcile_passes; }
  bool until_passes(std::uint64_t more) {
    const std::uint64_t before = passes();
    return until([&] { return passes() >= before + more; });
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
  std::unique_ptr<EventLoop> loop_;
  std::function<bool()> condition_;
  std::chrono::steady_clock::time_point deadline_;
  std::unique_ptr<Reconciler> reconciler_;
};

TEST_F(Reconciling, ARequestIsAnswered) {
  ask(3, 9001);
  reconciler_->bell_rung();
  EXPECT_TRUE(until([&] { return is_answered(9001); }));
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

// However much is asked for: each slot has its own turn.
TEST_F(Reconciling, AllRequestsAreAnswered) {
  const std::uint32_t slots = view().request_count();
  for (std::uint32_t i = 0; i < slots; ++i) ask(i, static_cast<std::uint16_t>(9001 + i));
  reconciler_->bell_rung();
  const auto last = static_cast<std::uint16_t>(9000 + slots);
  EXPECT_TRUE(until([&] {
    // Who asks without end for the first slots' sake.
    for (std::uint32_t i = 0; i < 64; ++i) ask(i, static_cast<std::uint16_t>(1001 + i));
    reconciler_->bell_rung();
    return is_answered(last);
  }));
  EXPECT_TRUE(is_answered(9065));
}

TEST_F(Reconciling, AttentionIsPaidToEachLaneThatAsks) {
  set_sysctl("net/ipv4/ip_local_port_range", "20000 20999");
  start();
  constexpr std::uint32_t kLanes = 8;
  for (std::uint32_t i = 0; i < kLanes; ++i) ask(i, static_cast<std::uint16_t>(9001 + i));
  reconciler_->bell_rung();
  ASSERT_TRUE(until([&] { return is_answered(9000 + kLanes); }));
  // All ports in doubt, in each lane: more than one turn looks up.
  for (std::uint32_t i = 0; i < kLanes; ++i) {
    for (std::uint16_t port = 20000; port < 21000; ++port) {
      put_port(port_map(view().lane_hints(i), PortMapId::quarantine), port);
    }
    view().lane_hints(i).attention = 1;
  }
  reconciler_->bell_rung();
  EXPECT_TRUE(until([&] {
    // The first one asks again and again; the others have their turn all the same.
    view().lane_hints(0).attention = 1;
    std::uint32_t waiting = 0;
    for (std::uint32_t i = 1; i < kLanes; ++i) waiting += view().lane_hints(i).attention;
    return waiting == 0;
  }));
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
  reconciler_->bell_rung();
  ASSERT_TRUE(until([&] { return is_answered(9001); }));
  const LaneInfo& lane = view().lane_info(0);
  ASSERT_NE(lane.full, 0U);
  ASSERT_TRUE(until_passes(2));
  for (Descriptor& connection : all) close_with_reset(connection.release());
  view().lane_hints(0).last_used_beat = 0;
  const std::uint64_t before = passes();
  EXPECT_TRUE(until([&] {
    view().lane_hints(0).last_used_beat = 0;
    return lane.full == 0U;
  }));
  EXPECT_LE(passes() - before, 3U) << "not only when all lanes are looked at";
}

// Whoever may attach can report any destination; the kernel's table speaks against it.
TEST_F(Reconciling, RewrittenIsBelievedWhereTheKernelShowsNoSockets) {
  const Descriptor listener(tcp_socket(AF_INET));
  ASSERT_EQ(bind_error(listener.get(), SocketAddress("127.0.0.1:9001")), 0);
  ASSERT_EQ(listen(listener.get(), 1), 0);
  const Descriptor connection(connected_socket(SocketAddress("127.0.0.1:9001")));
  ASSERT_TRUE(connection);
  ask(0, 9001);
  ask(1, 9002);
  reconciler_->bell_rung();
  ASSERT_TRUE(until([&] { return is_answered(9001) && is_answered(9002); }));
  for (std::uint32_t i = 0; i < 2; ++i) {
    view().lane_hints(i).rewritten = 77;
    view().lane_hints(i).attention = 1;
  }
  reconciler_->bell_rung();
  LaneChoice choice;
  EXPECT_TRUE(
      until([&] { return find_lanes(view(), question(9002), choice) && choice.count == 0; }));
  EXPECT_EQ(choice.flags, EntryFlags::refused | EntryFlags::rewritten);
  ASSERT_TRUE(
      until([&] { return view().lane_hints(0).attention + view().lane_hints(1).attention == 0; }));
  ASSERT_TRUE(until_passes(1));
  EXPECT_TRUE(is_answered(9001));
  EXPECT_FALSE(is_answered(9002));
}

// Takes a port as a program does that ends before it connects.
std::uint16_t claim_and_forget(LaneHints& lane) {
  return static_cast<std::uint16_t>(claim(lane, Parity::even, 7));
}

bool is_free(LaneHints& lane, std::uint16_t port) {
  for (std::uint32_t map = 0; map < kFreeMaps; ++map) {
    if (has_port(free_map(lane, map), port)) return true;
  }
  return false;
}

// Once: what ended programs have left came back when two passes had missed it, and lanes that
// nobody used were looked at in each tenth only.
TEST_F(Reconciling, OnePassFreesWhatTheLastProgramHasLeft) {
  ask(0, 9001);
  reconciler_->bell_rung();
  ASSERT_TRUE(until([&] { return is_answered(9001); }));
  ASSERT_TRUE(until_passes(2)) << "the next one is not one of those that look at every lane";
  LaneHints& lane = view().lane_hints(0);
  lane.last_used_beat = view().header().heartbeat.load();
  const std::uint16_t port = claim_and_forget(lane);
  ASSERT_FALSE(is_free(lane, port));
  const std::uint64_t before = passes();
  reconciler_->process_ended(true);
  EXPECT_TRUE(until([&] { return is_free(lane, port); }));
  // One may have been under way.
  EXPECT_LE(passes() - before, 2U);
}

// Rules that change while a pass is under way: lanes have other ranges by the time that it comes
// to them, and what it has read is no longer about them.
TEST_F(Reconciling, ARangeThatChangesDuringAPassIsKept) {
  constexpr std::uint32_t kLanes = 64;
  for (std::uint32_t i = 0; i < kLanes; ++i) ask(i, static_cast<std::uint16_t>(9001 + i));
  reconciler_->bell_rung();
  ASSERT_TRUE(until([&] { return is_answered(9000 + kLanes); }));
  for (int round = 0; round < 6; ++round) {
    reconciler_->process_ended(true);  // begins a pass
    PoolRule rule;
    const auto low = static_cast<std::uint16_t>(20000 + round * 7);
    rule.port_range = PortRange{low, static_cast<std::uint16_t>(low + 20)};
    reconciler_->set_rules({rule});
    const auto right = [&](std::uint32_t i) {
      const LaneCounts counts = count_lane(view().lane_hints(i), *rule.port_range);
      std::size_t all = 0;
      for (std::size_t map = 0; map < kPortMaps; ++map) {
        for (auto& word : view().lane_hints(i).words[map]) {
          all += static_cast<std::size_t>(std::popcount(word.load()));
        }
      }
      return counts.free == counts.capacity && all == counts.capacity;
    };
    EXPECT_TRUE(until([&] {
      for (std::uint32_t i = 0; i < kLanes; ++i) {
        if (!right(i)) return false;
      }
      return true;
    })) << round;
  }
}

// Lanes go while a pass is under way.
TEST_F(Reconciling, AFullTableMakesRoomByNeed) {
  const std::uint32_t places = view().lane_count();
  const auto ask_for = [&](std::uint16_t first, std::uint16_t count) {
    const auto last = static_cast<std::uint16_t>(first + count - 1);
    return until([&] {
      std::uint32_t slot = 0;
      bool all = true;
      for (std::uint16_t port = first; port <= last; ++port) {
        if (is_answered(port)) continue;
        all = false;
        if (slot < view().request_count()) ask(slot++, port);
      }
      reconciler_->bell_rung();
      reconciler_->process_ended(true);
      return all;
    });
  };
  ASSERT_TRUE(ask_for(9001, static_cast<std::uint16_t>(places)));
  EXPECT_TRUE(ask_for(19001, 24)) << "others gave up their places";
}

// What poold logs while the object lives.
class Log {
 public:
  Log() : before_(spdlog::default_logger()) {
    spdlog::set_default_logger(std::make_shared<spdlog::logger>(
        "test", std::make_shared<spdlog::sinks::ostream_sink_mt>(text_)));
  }
  ~Log() { spdlog::set_default_logger(before_); }
  std::size_t count(const std::string& words) const {
    const std::string text = text_.str();
    std::size_t found = 0;
    for (std::size_t at = 0; (at = text.find(words, at)) != std::string::npos; ++at) ++found;
    return found;
  }

 private:
  std::ostringstream text_;
  std::shared_ptr<spdlog::logger> before_;
};

// Once: a table of lanes that are all in use was never mentioned.
TEST_F(Reconciling, AFullTableOfUsedLanesIsSaidOnceAMinute) {
  const Log log;
  const std::uint32_t places = view().lane_count();
  for (std::uint32_t i = 0; i < places; ++i) ask(i, static_cast<std::uint16_t>(9001 + i));
  reconciler_->bell_rung();
  ASSERT_TRUE(until([&] { return is_answered(static_cast<std::uint16_t>(9000 + places)); }));
  const auto one_more = [&] {
    for (std::uint32_t i = 0; i < places; ++i) {
      view().lane_hints(i).last_used_beat = view().header().heartbeat + 1;
    }
    ask(0, 19001);
    reconciler_->bell_rung();
  };
  EXPECT_TRUE(until([&] {
    one_more();
    return log.count("the lane table is full") > 0;
  }));
  const std::uint64_t before = passes();
  EXPECT_TRUE(until([&] {
    one_more();
    return passes() > before + 5;
  }));
  EXPECT_EQ(log.count("the lane table is full"), 1U);
  EXPECT_FALSE(is_answered(19001));
}

#ifndef PORTPOOL_SANITIZED
std::size_t own_memory_kb() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("RssAnon:")) return std::stoul(line.substr(8));
  }
  return 0;
}

// Once: 16 KiB for each lane, and 56 KiB more for each that was in a pass.
TEST_F(Reconciling, AnIdleLaneTakesLessThanTenKilobytes) {
  set_sysctl("net/ipv4/ip_local_port_range", "32768 60999");
  reconciler_.reset();
  segment_ = Segment({.lanes = 2048, .shards = 1}, {});
  segment_.publish();
  start();
  ASSERT_TRUE(until_passes(1));
  const std::size_t before = own_memory_kb();
  constexpr std::uint32_t kLanes = 1500;
  const std::uint32_t slots = view().request_count();
  for (std::uint32_t first = 0; first < kLanes; first += slots) {
    for (std::uint32_t i = 0; i < slots; ++i) {
      ask(i, static_cast<std::uint16_t>(9001 + first + i));
    }
    reconciler_->bell_rung();
    ASSERT_TRUE(
        until([&] { return is_answered(static_cast<std::uint16_t>(9000 + first + slots)); }));
  }
  // A pass over all of them is among the next ones.
  reconciler_->process_ended(true);
  ASSERT_TRUE(until_passes(2));
  EXPECT_LT(own_memory_kb() - before, kLanes * 10U);
}
#endif

}  // namespace
}  // namespace portpool::test
