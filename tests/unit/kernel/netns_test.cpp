#include "kernel/netns.h"

#include <thread>

#include "support/no_descriptors.h"
#include "unit/kernel/private_namespace.h"

namespace portpool::kernel {
namespace {

using NetnsTest = PrivateNamespace;

TEST_F(NetnsTest, ANewNamespaceDiffersAndTheSameOneDoesNot) {
  const NetworkNamespace before = current_network_namespace();
  EXPECT_TRUE(before.same_as(current_network_namespace()));
  ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
  const NetworkNamespace after = current_network_namespace();
  EXPECT_FALSE(before.same_as(after));
  EXPECT_NE(before.inode, 0U);
  EXPECT_NE(before.inode, after.inode);
}

TEST_F(NetnsTest, IsTheCallingThreadsAndNotTheProcesss) {
  const NetworkNamespace mine = current_network_namespace();
  NetworkNamespace other;
  std::thread([&] {
    if (::unshare(CLONE_NEWNET) == 0) other = current_network_namespace();
  }).join();
  EXPECT_NE(other.inode, 0U);
  EXPECT_NE(other.inode, mine.inode);
  EXPECT_FALSE(other.same_as(mine));
  EXPECT_TRUE(mine.same_as(current_network_namespace()));
}

// A cookie of 0 would let visitors of every namespace in.
TEST_F(NetnsTest, OutOfDescriptorsNothingIsKnown) {
  const test::NoDescriptors none;
  EXPECT_THROW(current_network_namespace(), std::system_error);
}

}  // namespace
}  // namespace portpool::kernel
