// The bell hangs where everybody may attach: who rings it may do more to it than that.
#include "daemon/doorbell.h"

#include <gtest/gtest.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>

#include "support/eventually.h"

namespace portpool::test {
namespace {

class Bell : public ::testing::Test {
 protected:
  long futex(int operation, std::uint32_t count, void* other = nullptr) {
    return syscall(SYS_futex, &word_, operation, count, std::uintptr_t{INT_MAX}, other, 0);
  }
  void ring() {
    word_.fetch_add(1);
    futex(FUTEX_WAKE, INT_MAX);
  }
  // Whether the bell was rung since the last time.
  static bool rung(Doorbell& bell) {
    std::uint64_t rings = 0;
    return read(bell.fd(), &rings, sizeof rings) == sizeof rings;
  }
  // Takes whoever waits, before it was ever rung, at the bell to another word, where nobody rings.
  void lead_away() {
    ASSERT_TRUE(eventually([&] { return futex(FUTEX_CMP_REQUEUE, 0, &elsewhere_) > 0; }));
  }

  std::atomic<std::uint32_t> word_ = 0;
  std::atomic<std::uint32_t> elsewhere_ = 0;
};

TEST_F(Bell, IsHeardEachTime) {
  Doorbell bell(word_);
  for (int i = 0; i < 3; ++i) {
    ring();
    EXPECT_TRUE(eventually([&] { return rung(bell); })) << i;
  }
}

TEST_F(Bell, IsHeardByOneWhoWasLedAway) {
  Doorbell bell(word_);
  lead_away();
  ring();
  EXPECT_TRUE(eventually([&] { return rung(bell); }));
}

TEST_F(Bell, EndsWithOneWhoWasLedAway) {
  const Doorbell bell(word_);
  lead_away();
}

// Put back to a number that was heard before, just when it is to end.
TEST_F(Bell, EndsWhateverTheNumber) {
  for (int i = 0; i < 20; ++i) {
    std::atomic<bool> ended = false;
    std::thread meddler([&] {
      while (!ended) word_.store(0);
    });
    { const Doorbell bell(word_); }
    ended = true;
    meddler.join();
  }
}

}  // namespace
}  // namespace portpool::test
