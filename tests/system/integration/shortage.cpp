// A daemon that has no descriptor left: it knows nothing new, says so, and makes nothing of it.
#include <sys/resource.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "support/no_descriptors.h"
#include "system/integration/common.h"

namespace portpool::test {
namespace {

// For as long as it lives `pid` can open nothing beyond what it has open.
class NoFurtherDescriptors {
 public:
  explicit NoFurtherDescriptors(pid_t pid) : pid_(pid) {
    EXPECT_EQ(prlimit(pid_, RLIMIT_NOFILE, nullptr, &before_), 0);
    tighten();
  }
  NoFurtherDescriptors(const NoFurtherDescriptors&) = delete;
  NoFurtherDescriptors& operator=(const NoFurtherDescriptors&) = delete;
  ~NoFurtherDescriptors() { prlimit(pid_, RLIMIT_NOFILE, &before_, nullptr); }

  // What was open at the beginning may have been closed since.
  void tighten() {
    limit_ = std::min(limit_, lowest_free(pid_));
    const rlimit none{limit_, before_.rlim_max};
    EXPECT_EQ(prlimit(pid_, RLIMIT_NOFILE, &none, nullptr), 0);
  }

 private:
  static rlim_t lowest_free(pid_t pid) {
    std::set<rlim_t> taken;
    const std::string folder = "/proc/" + std::to_string(pid) + "/fd";
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      taken.insert(std::stoul(entry.path().filename().string()));
    }
    rlim_t free = 0;
    while (taken.contains(free)) ++free;
    return free;
  }

  pid_t pid_;
  rlimit before_{};
  rlim_t limit_ = RLIM_INFINITY;
};

class Shortage : public PooledNet {
 protected:
  int times_said(const std::string& text) {
    const std::string log = poold.process().err();
    int count = 0;
    for (std::size_t at = 0; (at = log.find(text, at)) != std::string::npos; ++at) ++count;
    return count;
  }
  nlohmann::json range() const { return poold.status().at("port_range"); }
};

const nlohmann::json kOldRange = {{"low", kLowPort}, {"high", kHighPort}};
const nlohmann::json kNewRange = {{"low", 50000}, {"high", 50999}};

// Programs attach in the place of the descriptor that is kept for that.
TEST_F(Shortage, ProgramsAttachAndAreServed) {
  {
    const NoFurtherDescriptors none(poold.process().pid());
    for (int i = 0; i < 5; ++i) {
      EXPECT_EQ(run_guest("echo_often", poold.shim(), {kEcho, "5"}), GuestResult{});
    }
    EXPECT_GE(pool_connects(poold.status()), 25U);
  }
  EXPECT_EQ(times_said("out of descriptors"), 1) << poold.process().err();
}

// Neither the kernel's default nor "no route": what was known stays, and what is asked for waits.
TEST_F(Shortage, WhatCannotBeAskedIsNotMadeUp) {
  Process client = start_guest("echo_on_demand", poold.shim(), {kOtherEcho});
  auto connect = [&, done = std::string()]() mutable {
    client.send_line("");
    client.wait_for_output(done += "done\n");
  };
  {
    NoFurtherDescriptors none(poold.process().pid());
    for (int i = 0; i < 20; ++i) {
      none.tighten();
      connect();
      const nlohmann::json now = poold.status();
      EXPECT_EQ(now.at("port_range"), kOldRange);
      EXPECT_EQ(lane_of(now, kEcho).at("capacity"), kHighPort - kLowPort + 1);
      EXPECT_EQ(fallbacks(now, "lane_refused"), 0U);
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    net.set_port_range(50000, 50999);
    std::this_thread::sleep_for(std::chrono::seconds(1));
    EXPECT_EQ(range(), kOldRange);
  }
  EXPECT_EQ(times_said("stays in force"), 1) << poold.process().err();
  EXPECT_TRUE(eventually([&] { return range() == kNewRange; })) << poold.status();
  poold.make_lanes({kOtherEcho});
  EXPECT_EQ(lane_of(poold.status(), kOtherEcho).at("capacity"), 1000);
  EXPECT_EQ(lane_of(poold.status(), kEcho).at("capacity"), 1000);
  EXPECT_EQ(fallbacks(poold.status(), "lane_refused"), 0U);
}

// Not even the spare one helps. Who waited is served when it is over.
TEST_F(Shortage, WithoutAnyDescriptorItWaits) {
  std::unique_ptr<Process> status;
  {
    const NoDescriptors none(poold.process().pid());
    status =
        std::make_unique<Process>(std::vector<std::string>{poold_path(), "status", "--json"},
                                  std::vector<std::string>{"PORTPOOL_SOCKET=" + poold.socket()});
    EXPECT_TRUE(eventually([&] { return times_said("out of descriptors") > 0; }));
  }
  status->wait();
  EXPECT_EQ(run_guest("echo_often", poold.shim(), {kEcho, "5"}), GuestResult{});
  EXPECT_EQ(times_said("out of descriptors"), 1) << poold.process().err();
}

// More attached processes than it can follow, each of them well served.
TEST_F(Shortage, AttachedProcessesTakeAQuarterOfTheDescriptors) {
  constexpr std::uint32_t kRoom = 24;
  rlimit limit{};
  ASSERT_EQ(prlimit(poold.process().pid(), RLIMIT_NOFILE, nullptr, &limit), 0);
  limit.rlim_cur = 4 * kRoom;
  ASSERT_EQ(prlimit(poold.process().pid(), RLIMIT_NOFILE, &limit, nullptr), 0);
  std::vector<std::unique_ptr<Process>> clients;
  for (std::uint32_t i = 0; i < kRoom + 6; ++i) {
    clients.emplace_back(new Process(start_guest("echo_on_demand", poold.shim(), {kEcho})));
    clients.back()->send_line("");
    clients.back()->wait_for_output("done\n");
  }
  EXPECT_EQ(poold.status().at("clients").at("attached"), kRoom);
  EXPECT_GE(pool_connects(poold.status()), kRoom + 6);
  EXPECT_EQ(times_said("24 attached processes are counted"), 1) << poold.process().err();
  EXPECT_EQ(times_said("out of descriptors"), 0) << poold.process().err();
  clients.clear();
  EXPECT_TRUE(poold.eventually_status(
      [](const nlohmann::json& now) { return now.at("clients").at("attached") == 0; }));
}

}  // namespace
}  // namespace portpool::test
