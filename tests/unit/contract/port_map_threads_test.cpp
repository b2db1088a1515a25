// Many claimers and releasers on a lane that is mapped twice, as two processes have it.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "base/mapping.h"
#include "lanes/lane_update.h"
#include "lanes/segment.h"
#include "unit/contract/lane_memory.h"

namespace portpool::test {
namespace {

constexpr std::uint16_t kLow = 40000;
constexpr std::size_t kThreads = 4;

// One lane of one segment, seen through poold's mapping and through a client's.
class TwoMappings {
 public:
  TwoMappings()
      : owner_({.lanes = 1, .shards = 1}, {}),
        structure_(Mappable{owner_.structure_fd()}, boost::interprocess::read_only, 0,
                   owner_.structure_size()),
        hints_(Mappable{owner_.hints_fd()}, boost::interprocess::read_write, 0,
               owner_.hints_size()) {
    owner_.publish();
    EXPECT_EQ(SegmentView::open(structure_.get_address(), structure_.get_size(),
                                hints_.get_address(), hints_.get_size(), client_),
              SegmentCheck::ok);
  }

  LaneHints& owner() const { return owner_.view().lane_hints(0); }
  LaneHints& client() const { return client_.lane_hints(0); }
  LaneHints& of_thread(std::size_t thread) const { return thread % 2 == 0 ? owner() : client(); }

 private:
  Segment owner_;
  boost::interprocess::mapped_region structure_;
  boost::interprocess::mapped_region hints_;
  SegmentView client_;
};

// Who holds which port. Stands for the kernel: it refuses a port that is taken.
class Holders {
 public:
  bool take(std::uint16_t port) { return !held_[port].exchange(true); }
  void leave(std::uint16_t port) { held_[port].store(false); }
  bool held(std::uint16_t port) const { return held_[port].load(); }

 private:
  std::array<std::atomic<bool>, kPorts> held_{};
};

template <class Work>
void in_threads(Work work) {
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < kThreads; ++i) threads.emplace_back(work, i);
  for (std::thread& thread : threads) thread.join();
}

// Claims and releases; with more hands than ports, so that the lane is often empty.
void work_on(LaneHints& lane, Holders& holders, std::uint64_t seed, std::atomic<int>& doubles,
             std::atomic<bool>& done, int steps) {
  std::mt19937_64 random{seed};
  std::vector<std::uint16_t> mine;
  for (int step = 0; step < steps && !done; ++step) {
    const int port = random() % 2 == 0 ? claim(lane, random()) : -1;
    if (port >= 0) {
      if (!holders.take(static_cast<std::uint16_t>(port))) ++doubles;
      mine.push_back(static_cast<std::uint16_t>(port));
    } else if (!mine.empty()) {
      std::swap(mine[random() % mine.size()], mine.back());
      holders.leave(mine.back());
      release(lane, mine.back());
      mine.pop_back();
    }
  }
  for (const std::uint16_t port : mine) {
    holders.leave(port);
    release(lane, port);
  }
}

void expect_each_free_once(LaneHints& lane, const PortSet& ports) {
  std::size_t bits = 0;
  for (std::size_t map = 0; map < kPortMaps; ++map) bits += ports_in(lane, map_id(map)).size();
  EXPECT_EQ(bits, ports.size()) << "a port stands in two maps, or in none";
  EXPECT_EQ(free_ports(lane), ports);
}

class Threads : public ::testing::TestWithParam<std::size_t> {
 protected:
  std::uint16_t high() const { return static_cast<std::uint16_t>(kLow + GetParam() - 1); }

  TwoMappings lanes_;
  std::unique_ptr<Holders> holders_ = std::make_unique<Holders>();
  std::atomic<int> doubles_{0};
  std::atomic<bool> done_{false};
};

TEST_P(Threads, NoPortIsHeldTwiceAndNoneIsLost) {
  make_free(lanes_.owner(), kLow, high());
  in_threads([&](std::size_t i) {
    work_on(lanes_.of_thread(i), *holders_, i + 1, doubles_, done_, 100'000);
  });
  EXPECT_EQ(doubles_, 0);
  expect_each_free_once(lanes_.client(), range_of(kLow, high()));
  // The upper levels still lead to every port.
  PortSet reached;
  for (std::size_t map = 0; map < kFreeMaps; ++map) {
    for (int port = 0;
         (port = take_any(free_map(lanes_.client(), static_cast<std::uint32_t>(map)), 1)) >= 0;) {
      reached.insert(static_cast<std::uint16_t>(port));
    }
  }
  EXPECT_EQ(reached, range_of(kLow, high()));
}

TEST_P(Threads, RepairMeanwhileChangesNothing) {
  make_free(lanes_.owner(), kLow, high());
  std::thread repairer([&] {
    while (!done_) {
      for (std::size_t map = 0; map < kPortMaps; ++map) {
        repair(port_map(lanes_.owner(), map_id(map)), word_of_port(kLow) & ~1U,
               word_of_port(high()) | 1U);
      }
    }
  });
  in_threads([&](std::size_t i) {
    work_on(lanes_.of_thread(i), *holders_, i + 10, doubles_, done_, 50'000);
  });
  done_ = true;
  repairer.join();
  EXPECT_EQ(doubles_, 0);
  expect_each_free_once(lanes_.client(), range_of(kLow, high()));
}

// One client under reconcile: connects what it claims (a port that is taken is rejected), and on
// close gives the port back as free, to quarantine, or, like a program that is killed, not at all.
void connect_and_close(LaneHints& lane, Holders& holders, std::uint64_t seed, int steps) {
  std::mt19937_64 random{seed};
  std::vector<std::uint16_t> mine;
  for (int step = 0; step < steps; ++step) {
    if (const int port = random() % 2 == 0 ? claim(lane, random()) : -1; port >= 0) {
      const auto claimed = static_cast<std::uint16_t>(port);
      if (holders.take(claimed)) {
        mine.push_back(claimed);
      } else {
        put_port(port_map(lane, PortMapId::rejected), claimed);
      }
    } else if (!mine.empty()) {
      std::swap(mine[random() % mine.size()], mine.back());
      const std::uint16_t port_left = mine.back();
      mine.pop_back();
      holders.leave(port_left);
      const auto how = random() % 8;
      if (how == 0) continue;
      if (how < 4) {
        put_port(port_map(lane, PortMapId::quarantine), port_left);
      } else {
        release(lane, port_left);
      }
    }
  }
  for (const std::uint16_t port : mine) holders.leave(port);
}

void reconcile(LaneHints& lane, LaneRecord& record, const Holders& holders, TruthCollector& truth) {
  truth.begin({});
  truth.expect({record.key, record.ref, record.range}, lane);
  for (std::uint32_t port = record.range.low; port <= record.range.high; ++port) {
    if (!holders.held(static_cast<std::uint16_t>(port))) continue;
    kernel::SocketRecord socket;
    socket.local = {record.key.source, static_cast<std::uint16_t>(port)};
    socket.remote = {record.key.destination, record.key.destination_port};
    socket.state = 1;
    truth.add(socket);
  }
  update_lane(lane, record, *truth.find(record.key), BlockedPorts{});
}

TEST_P(Threads, ReconcileMeanwhileLeavesNoLastingDouble) {
  make_free(lanes_.owner(), kLow, high());
  LaneRecord record;
  record.key = {{1, 1}, {2, 2}, 80};
  record.range = {kLow, high()};
  TruthCollector truth;
  std::thread poold([&] {
    while (!done_) {
      reconcile(lanes_.owner(), record, *holders_, truth);
      sweep_rejected(lanes_.owner(), record);
    }
  });
  in_threads(
      [&](std::size_t i) { connect_and_close(lanes_.of_thread(i), *holders_, i + 20, 50'000); });
  done_ = true;
  poold.join();
  for (int i = 0; i < 2; ++i) sweep_rejected(lanes_.owner(), record);
  for (int i = 0; i < 2; ++i) reconcile(lanes_.owner(), record, *holders_, truth);
  expect_each_free_once(lanes_.client(), range_of(kLow, high()));
}

INSTANTIATE_TEST_SUITE_P(Ports, Threads, ::testing::Values(1, 3, 64, 130, 5000));

}  // namespace
}  // namespace portpool::test
