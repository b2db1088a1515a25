// Who a process is, and what it was started with.
#include "kernel/process_identity.h"

#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "base/clock.h"
#include "kernel/preload.h"

namespace portpool::kernel {
namespace {

TEST(ProcessIdentity, Ours) {
  prctl(PR_SET_NAME, "a) b (c");
  const auto found = identify(::getpid());
  ASSERT_TRUE(found);
  EXPECT_EQ(found->pid, ::getpid());
  EXPECT_EQ(found->name, "a) b (c");
  EXPECT_EQ(found->user, ::geteuid());
  EXPECT_EQ(found->group, ::getegid());
  EXPECT_TRUE(found->is_in(::getegid()));
  EXPECT_FALSE(found->is_in(12345678));
  EXPECT_FALSE(found->filtered);
  EXPECT_GT(found->inner_pid, 0);
  EXPECT_GT(found->started_ns, 0U);
  EXPECT_LE(found->started_ns, clock_ns(CLOCK_BOOTTIME));
  EXPECT_NE(namespace_of(::getpid(), "net"), 0U);
  EXPECT_FALSE(identify(0x7FFFFFFF));
}

TEST(ProcessIdentity, UnitOrContainer) {
  const std::string id(64, 'a');
  EXPECT_EQ(unit_of("0::/system.slice/nginx.service\n"), "nginx.service");
  EXPECT_EQ(unit_of("0::/system.slice/nginx.service/workers\n"), "nginx.service");
  EXPECT_EQ(unit_of("0::/user.slice/user-1000.slice/user@1000.service/app.slice/a.service\n"),
            "a.service");
  EXPECT_EQ(unit_of("0::/user.slice/user-1000.slice/session-3.scope\n"), "session-3.scope");
  EXPECT_EQ(unit_of("0::/system.slice/docker-" + id + ".scope\n"), "docker-aaaaaaaaaaaa");
  EXPECT_EQ(unit_of("0::/system.slice/docker-" + id + ".scope/system.slice/in.service\n"),
            "docker-aaaaaaaaaaaa");
  EXPECT_EQ(unit_of("0::/kubepods/burstable/pod1/" + id + "\n"), "aaaaaaaaaaaa");
  EXPECT_EQ(unit_of("4:memory:/x.service\n1:name=systemd:/system.slice/old.service\n"),
            "old.service");
  for (const char* none : {"", "0::/\n", "0::/../..\n", "0::", "nonsense", "0::///\n"}) {
    EXPECT_EQ(unit_of(none), "") << none;
  }
}

TEST(Preload, Ours) {
  const auto found = preload_state(::getpid(), "libstdc++.so");
  ASSERT_TRUE(found);
  EXPECT_TRUE(found->loaded);
  EXPECT_FALSE(found->replaced);
  EXPECT_FALSE(found->requested);
  EXPECT_EQ(found->structure, 0U);
  EXPECT_FALSE(preload_state(::getpid(), "libportpool.so")->loaded);
  EXPECT_FALSE(preload_state(::getpid(), "libportpool.so")->starting);
  EXPECT_FALSE(preload_state(0x7FFFFFFF, "libportpool.so"));
}

// Held by ptrace(2) where execve() ends: ld.so has mapped nothing yet.
TEST(Preload, AMomentAfterExec) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    execl("/bin/cat", "cat", nullptr);
    _exit(127);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSTOPPED(status));
  const auto found = preload_state(child, "libportpool.so");
  kill(child, SIGKILL);
  waitpid(child, &status, 0);
  ASSERT_TRUE(found);
  EXPECT_TRUE(found->starting);
  EXPECT_FALSE(found->loaded);
}

}  // namespace
}  // namespace portpool::kernel
