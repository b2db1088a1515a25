// However many knock at the socket, the event loop has its turn.
#include "daemon/handover_server.h"

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "support/no_descriptors.h"
#include "support/temp_dir.h"

namespace portpool::test {
namespace {

class Handovers : public testing::Test {
 protected:
  Handovers() {
    segment.publish();
    server.emplace(loop, SocketFile::make(path), HandoverPolicy{}, segment,
                   [this](HandoverServer::Visitor& visitor) {
                     visits.push_back(visitor.answer);
                     if (kept && visitor.may_command)
                       kept->push_back(std::move(visitor.connection));
                   });
    // Asks for every turn of the loop that it can get.
    loop.watch(always.get(), [this] { turn(); });
  }
  ~Handovers() override { loop.unwatch(always.get()); }

  Descriptor visitor() const {
    Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    path.copy(name.sun_path, sizeof name.sun_path - 1);
    if (connect(socket.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) != 0) {
      return {};
    }
    return socket;
  }
  static bool is_answered(const Descriptor& visitor) {
    HandoverMessage message;
    return recv(visitor.get(), &message, sizeof message, MSG_DONTWAIT) == sizeof message &&
           message.answer == Handover::granted;
  }
  // Two turns at least: what is due at the same time may come after the one in which it ends.
  void run_for(int turns) {
    turns_left = turns;
    loop.run();
  }

  TempDir directory;
  std::string path = directory.file("poold.sock");
  EventLoop loop;
  Segment segment{{.lanes = 4, .shards = 1}, {}};
  std::optional<HandoverServer> server;
  std::vector<Handover> visits;
  std::vector<Descriptor>* kept = nullptr;
  std::size_t most_in_a_turn = 0;

  void turn() {
    most_in_a_turn = std::max(most_in_a_turn, visits.size() - seen);
    seen = visits.size();
    if (--turns_left <= 0) loop.stop();
  }

  Descriptor always{eventfd(1, EFD_CLOEXEC)};

 private:
  std::size_t seen = 0;
  int turns_left = 0;
};

TEST_F(Handovers, VisitorsAreServedInTurns) {
  std::vector<Descriptor> visitors;
  for (int i = 0; i < 300; ++i) visitors.push_back(visitor());
  run_for(1000);
  EXPECT_EQ(visits.size(), 300U);
  EXPECT_LE(most_in_a_turn, 64U);
  for (const Descriptor& each : visitors) EXPECT_TRUE(is_answered(each));
}

TEST_F(Handovers, WhoHasGoneIsPassedOver) {
  for (int i = 0; i < 100; ++i) visitor();
  const Descriptor there = visitor();
  run_for(100);
  EXPECT_EQ(visits.size(), 1U);
  EXPECT_TRUE(is_answered(there));
  const auto gone = static_cast<std::size_t>(AttachResult::gone);
  EXPECT_EQ(segment.view().attendance()->attaches[gone], 100U);
}

TEST_F(Handovers, OutOfDescriptorsVisitorsAreServedInThePlaceOfTheSpareOne) {
  std::vector<Descriptor> stay;
  kept = &stay;
  std::vector<Descriptor> visitors;
  for (int i = 0; i < 100; ++i) visitors.push_back(visitor());
  {
    // One number is free, at most: none once it is taken.
    rlimit before{};
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    const Descriptor next(dup(0));
    const rlimit few{static_cast<rlim_t>(next.get()), before.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
    run_for(1000);
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  }
  for (const Descriptor& each : visitors) EXPECT_TRUE(is_answered(each));
  EXPECT_TRUE(stay.empty()) << "nobody may keep the spare descriptor";
}

// Level-triggered, the loop would be called for the same visitor all the time.
TEST_F(Handovers, WithoutAnyDescriptorTheSocketRests) {
  server.reset();
  constexpr std::chrono::milliseconds kRest{300};
  int calls = 0;
  server.emplace(loop, SocketFile::make(path), HandoverPolicy{}, segment,
                 [&](HandoverServer::Visitor&) { ++calls; });
  const Descriptor waiting = visitor();
  testing::internal::CaptureStdout();
  const int wake = loop.add_timer([this] { loop.stop(); });
  std::uint64_t cpu_ns = 0;
  {
    const NoDescriptors none;
    run_for(1000);
    loop.unwatch(always.get());
    loop.set_timer(wake, kRest);
    const std::uint64_t before = thread_cpu_ns();
    loop.run();
    cpu_ns = thread_cpu_ns() - before;
  }
  loop.watch(always.get(), [this] { turn(); });
  const std::string log = testing::internal::GetCapturedStdout();
  EXPECT_EQ(calls, 0);
  const std::size_t said = log.find("out of descriptors");
  EXPECT_NE(said, std::string::npos) << log;
  EXPECT_EQ(log.find("out of descriptors", said + 1), std::string::npos) << log;
  EXPECT_LT(std::chrono::nanoseconds(cpu_ns), kRest / 4);
  while (calls == 0) run_for(2);
  EXPECT_TRUE(is_answered(waiting));
}

TEST_F(Handovers, TheSocketIsMadeAgainAndWhoWaitedIsServed) {
  const Descriptor waiting = visitor();
  std::filesystem::remove(path);
  Descriptor late;
  while (!late) {
    run_for(2);
    late = visitor();
  }
  while (visits.size() < 2) run_for(2);
  EXPECT_TRUE(is_answered(waiting));
  EXPECT_TRUE(is_answered(late));
}

TEST_F(Handovers, GivenUpItLeavesTheSocketToASuccessor) {
  SocketFile::Handles handles = server->give_up();
  const Descriptor waiting = visitor();
  run_for(10);
  EXPECT_TRUE(visits.empty());
  server.reset();
  server.emplace(loop, SocketFile::take_over(path, SocketFile::kNoGroup, std::move(handles)),
                 HandoverPolicy{}, segment,
                 [this](HandoverServer::Visitor& visitor) { visits.push_back(visitor.answer); });
  while (visits.empty()) run_for(2);
  EXPECT_TRUE(is_answered(waiting));
}

}  // namespace
}  // namespace portpool::test
