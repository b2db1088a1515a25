#include "base/thread.h"

#include <gtest/gtest.h>

namespace portpool::test {
namespace {

sigset_t mask_here() {
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  return mask;
}

TEST(ThreadWithoutSignals, BlocksThemThereAndNotHere) {
  sigset_t there;
  sigemptyset(&there);
  thread_without_signals([&there] { there = mask_here(); }).join();
  const sigset_t here = mask_here();
  for (const int signal : {SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGCHLD}) {
    EXPECT_EQ(sigismember(&there, signal), 1) << signal;
    EXPECT_EQ(sigismember(&here, signal), 0) << signal;
  }
}

}  // namespace
}  // namespace portpool::test
