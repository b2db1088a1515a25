// A command in the hands of a loop that fails.
#include "cli/launch.h"

#include <gtest/gtest.h>

#include <stdexcept>

namespace portpool::test {
namespace {

TEST(Launch, CommandIsWaitedForThoughTheLoopFails) {
  Child child;
  EventLoop loop;
  const int timer = loop.add_timer([] { throw std::runtime_error("something is wrong"); });
  loop.set_timer(timer, std::chrono::milliseconds(1));
  // It is told so by a signal of ours, which goes on to be passed on.
  run_to_end(loop, child,
             {"sh", "-c", "trap 'exit 7' USR1; kill -USR1 $PPID; while :; do sleep 0.1; done"}, {});
  EXPECT_TRUE(child.command_ended());
  EXPECT_EQ(child.exit_status(), 7);
}

}  // namespace
}  // namespace portpool::test
