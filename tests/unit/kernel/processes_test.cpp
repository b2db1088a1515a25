#include "kernel/processes.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/descriptor.h"

namespace portpool::kernel {
namespace {

std::uint32_t inode_of(int fd) {
  struct stat status {};
  ::fstat(fd, &status);
  return static_cast<std::uint32_t>(status.st_ino);
}

TEST(Processes, FindsTheHolderOfASocket) {
  Descriptor socket(::socket(AF_INET, SOCK_STREAM, 0));
  const std::uint32_t inode = inode_of(socket.get());
  const ProcessScan with = scan_processes();
  EXPECT_TRUE(with.proc_mounted);
  const ProcessRecord* holder = with.holder_of(inode);
  ASSERT_NE(holder, nullptr);
  EXPECT_EQ(holder->pid, ::getpid());
  EXPECT_GE(holder->open, 1U);
  EXPECT_NE(holder->name, "");
  socket = Descriptor();
  EXPECT_EQ(scan_processes().holder_of(inode), nullptr);
  EXPECT_EQ(with.holder_of(0), nullptr);
}

TEST(Processes, SharedSocketCountsOnce) {
  const Descriptor socket(::socket(AF_INET, SOCK_STREAM, 0));
  const pid_t child = ::fork();
  if (child == 0) {
    for (;;) ::pause();
  }
  const ProcessScan scan = scan_processes();
  const ProcessRecord* holder = scan.holder_of(inode_of(socket.get()));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  ASSERT_NE(holder, nullptr);
  EXPECT_EQ(holder->pid, std::min(child, ::getpid()));
}

TEST(Processes, OpenFilesLimit) {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  EXPECT_EQ(open_files_limit(::getpid()), limit.rlim_cur);
  EXPECT_FALSE(open_files_limit(0x7FFFFFFF));
}

}  // namespace
}  // namespace portpool::kernel
