#include "kernel/features.h"

#include <sys/utsname.h>

#include <cstdio>

#include "base/descriptor.h"
#include "kernel/sysctl.h"
#include "support/no_descriptors.h"
#include "unit/kernel/private_namespace.h"

namespace portpool::kernel {
namespace {

using FeaturesTest = PrivateNamespace;

// Kernels of these versions have the feature upstream; older ones may by a backport.
bool at_least(const std::string& release, int major, int minor) {
  int found_major = 0;
  int found_minor = 0;
  EXPECT_EQ(std::sscanf(release.c_str(), "%d.%d", &found_major, &found_minor), 2) << release;
  return found_major > major || (found_major == major && found_minor >= minor);
}

TEST_F(FeaturesTest, FindsWhatTheVersionPromises) {
  const KernelFeatures found = probe_features();
  utsname name{};
  ASSERT_EQ(::uname(&name), 0);
  EXPECT_EQ(found.release, name.release);
  EXPECT_EQ(found.untried, "");
  EXPECT_TRUE(found.bind_address_no_port || !at_least(found.release, 4, 2));
  EXPECT_TRUE(found.netns_cookie || !at_least(found.release, 5, 14));
  EXPECT_TRUE(found.local_port_range || !at_least(found.release, 6, 3));
  EXPECT_TRUE(found.bound_inactive_listing || !at_least(found.release, 6, 8));
}

TEST_F(FeaturesTest, MptcpIsWhatTheNamespaceAllows) {
  if (!read_sysctl("net/mptcp/enabled")) {
    EXPECT_FALSE(probe_features().mptcp);
    return;
  }
  ASSERT_NO_FATAL_FAILURE(set_sysctl("net/mptcp/enabled", "1"));
  EXPECT_TRUE(probe_features().mptcp);
  ASSERT_NO_FATAL_FAILURE(set_sysctl("net/mptcp/enabled", "0"));
  EXPECT_FALSE(probe_features().mptcp);
}

TEST_F(FeaturesTest, OutOfDescriptorsNothingIsTried) {
  const test::NoDescriptors none;
  EXPECT_NE(probe_features().untried, "");
}

TEST_F(FeaturesTest, LeavesNoDescriptorBehind) {
  const auto next_number = [] { return Descriptor(::dup(0)).get(); };
  const int before = next_number();
  probe_features();
  const int after = next_number();
  EXPECT_EQ(before, after);
}

}  // namespace
}  // namespace portpool::kernel
