#include "kernel/descent.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

namespace portpool::kernel {
namespace {

Descriptor handle_of(pid_t pid) {
  return Descriptor(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
}

bool descends(pid_t pid) { return descends_from_here(handle_of(pid), pid); }

[[noreturn]] void sleep_for_ever() {
  for (;;) ::pause();
}

class Descendants : public testing::Test {
 protected:
  Descendants() {
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    if (!handle_of(::getpid())) skipped = true;
  }
  ~Descendants() override { ::prctl(PR_SET_CHILD_SUBREAPER, 0); }
  void SetUp() override {
    if (skipped) GTEST_SKIP() << "this kernel has no pidfd_open (5.3)";
  }

  bool skipped = false;
};

TEST_F(Descendants, ChildrenAndNobodyElse) {
  const pid_t child = ::fork();
  if (child == 0) sleep_for_ever();
  EXPECT_TRUE(descends(child));
  EXPECT_FALSE(descends(::getppid()));
  EXPECT_FALSE(descends(1));
  EXPECT_FALSE(descends(::getpid())) << "not one's own child";
  // Whoever else has the number by then is not meant.
  const Descriptor handle = handle_of(child);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_FALSE(descends_from_here(handle, child));
  EXPECT_FALSE(descends_from_here(Descriptor(), child));
}

// Its parent ends: it becomes a child of this subreaper.
TEST_F(Descendants, OrphansStayInTheTree) {
  int answer[2];
  ASSERT_EQ(::pipe(answer), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const pid_t grandchild = ::fork();
    if (grandchild == 0) sleep_for_ever();
    (void)!::write(answer[1], &grandchild, sizeof grandchild);
    sleep_for_ever();
  }
  pid_t grandchild = 0;
  ASSERT_EQ(::read(answer[0], &grandchild, sizeof grandchild),
            static_cast<ssize_t>(sizeof grandchild));
  EXPECT_TRUE(descends(grandchild));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_TRUE(descends(grandchild));
  ::kill(grandchild, SIGKILL);
  ::waitpid(grandchild, nullptr, 0);
  ::close(answer[0]);
  ::close(answer[1]);
}

TEST_F(Descendants, PeerOfASocket) {
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  const Descriptor peer = peer_process(pair[0], ::getpid());
  ASSERT_TRUE(peer);
  pollfd ended{peer.get(), POLLIN, 0};
  EXPECT_EQ(::poll(&ended, 1, 0), 0);
  ::close(pair[0]);
  ::close(pair[1]);
}

}  // namespace
}  // namespace portpool::kernel
