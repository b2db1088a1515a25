// Which attached processes are followed, and how many.
#include "daemon/clients.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <optional>
#include <vector>

namespace portpool::test {
namespace {

class ClientsTest : public testing::Test {
 protected:
  ~ClientsTest() override {
    for (const pid_t child : children) end(child);
  }

  pid_t start_child() {
    const pid_t child = fork();
    if (child == 0) {
      for (;;) pause();
    }
    children.push_back(child);
    return child;
  }
  void end_child(pid_t child) {
    std::erase(children, child);
    end(child);
  }
  void run_until_ended(int times) {
    while (ended < times) {
      stop_at = times;
      loop.run();
    }
  }

  EventLoop loop;
  std::atomic<std::uint32_t> count = 0;
  int ended = 0;
  int stop_at = 0;
  Clients clients{loop, count, [this] {
                    if (++ended >= stop_at) loop.stop();
                  }};
  std::vector<pid_t> children;

 private:
  static void end(pid_t child) {
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
  }
};

TEST_F(ClientsTest, CountsThoseThatAreAlive) {
  const pid_t first = start_child();
  const pid_t second = start_child();
  for (const pid_t pid : {first, second, first, 0}) clients.attached(pid);
  EXPECT_EQ(count, 2U);
  end_child(first);
  run_until_ended(1);
  EXPECT_EQ(count, 1U);
  end_child(second);
  run_until_ended(2);
  EXPECT_EQ(count, 0U);
}

TEST_F(ClientsTest, TheirEndIsToldOnceForAll) {
  std::vector<pid_t> pids;
  for (int i = 0; i < 20; ++i) clients.attached(pids.emplace_back(start_child()));
  for (const pid_t pid : pids) end_child(pid);
  run_until_ended(1);
  // All had ended before the loop ran, and fit into one of its rounds.
  EXPECT_EQ(count, 0U);
  EXPECT_EQ(ended, 1);
}

TEST_F(ClientsTest, AQuarterOfTheDescriptorsIsForThem) {
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit few{64, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
  testing::internal::CaptureStdout();
  for (int i = 0; i < 24; ++i) clients.attached(start_child());
  const std::string log = testing::internal::GetCapturedStdout();
  EXPECT_EQ(count, 16U);
  const std::size_t said = log.find("16 attached processes are counted: there is room for no more");
  EXPECT_NE(said, std::string::npos) << log;
  EXPECT_EQ(log.find("are counted", said + 60), std::string::npos) << log;
  // Where one has gone there is room.
  end_child(children.front());
  run_until_ended(1);
  EXPECT_EQ(count, 15U);
  clients.attached(children.back());
  EXPECT_EQ(count, 16U);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  clients.attached(start_child());
  EXPECT_EQ(count, 17U);
}

// A flood of short-lived processes, faster than the loop.
TEST_F(ClientsTest, ProcessesThatEndLeaveNothingBehind) {
  const auto next_number = [] { return Descriptor(dup(0)).get(); };
  const int before = next_number();
  for (int round = 0; round < 20; ++round) {
    std::vector<pid_t> pids;
    for (int i = 0; i < 25; ++i) clients.attached(pids.emplace_back(start_child()));
    for (const pid_t pid : pids) end_child(pid);
    const int told = ended;
    while (count > 0) run_until_ended(ended + 1);
    EXPECT_GT(ended, told);
  }
  EXPECT_EQ(next_number(), before);
}

}  // namespace
}  // namespace portpool::test
