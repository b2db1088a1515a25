// The heartbeat follows the event loop: for as long as that goes on, however slowly.
#include "daemon/pulse.h"

#include <gtest/gtest.h>

#include "support/eventually.h"

namespace portpool::test {
namespace {

using std::chrono::milliseconds;

class PulseTest : public ::testing::Test {
 protected:
  void beat() { beats_.fetch_add(1); }
  bool beats_again() {
    const unsigned before = beats_;
    return eventually([&] { return beats_ > before; });
  }

  std::atomic<unsigned> beats_ = 0;
};

TEST_F(PulseTest, BeatsWithoutALoopThatComesRoundEachTime) {
  Pulse pulse([this] { beat(); });
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(beats_again()) << i;
}

TEST_F(PulseTest, StopsWithTheLoopAndGoesOnWithIt) {
  Pulse pulse([this] { beat(); }, milliseconds(300));
  // A beat that is under way when it is looked at is followed by none.
  EXPECT_TRUE(eventually([&] {
    const unsigned before = beats_;
    std::this_thread::sleep_for(milliseconds(500));
    return beats_ == before;
  }));
  pulse.progress();
  EXPECT_TRUE(beats_again());
}

TEST_F(PulseTest, EndsAtOnce) {
  for (int i = 0; i < 20; ++i) Pulse pulse([this] { beat(); });
  const unsigned before = beats_;
  std::this_thread::sleep_for(milliseconds(250));
  EXPECT_EQ(beats_, before);
}

}  // namespace
}  // namespace portpool::test
