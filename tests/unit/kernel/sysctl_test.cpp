#include "kernel/sysctl.h"

#include "support/no_descriptors.h"
#include "unit/kernel/private_namespace.h"

namespace portpool::kernel {
namespace {

using SysctlTest = PrivateNamespace;
using Ranges = std::vector<PortRange>;

TEST(PortList, ReadsWhatTheKernelPrints) {
  EXPECT_EQ(parse_port_list(""), Ranges{});
  EXPECT_EQ(parse_port_list("9"), (Ranges{{9, 9}}));
  EXPECT_EQ(parse_port_list("1-3,9"), (Ranges{{1, 3}, {9, 9}}));
  EXPECT_EQ(parse_port_list("0-65535"), (Ranges{{0, 65535}}));
}

TEST(PortList, RefusesAnythingElse) {
  for (const char* text : {",", "1,", ",1", "1-", "-1", "3-1", "1-2-3", "65536", "1 2", "x", "1,,2",
                           "99999999999999999999"}) {
    EXPECT_FALSE(parse_port_list(text)) << text;
  }
}

TEST_F(SysctlTest, FollowsThePortRange) {
  ASSERT_NO_FATAL_FAILURE(set_sysctl("net/ipv4/ip_local_port_range", "20001 30002"));
  EXPECT_EQ(local_port_range(), (PortRange{20001, 30002}));
  ASSERT_NO_FATAL_FAILURE(set_sysctl("net/ipv4/ip_local_port_range", "1024 65535"));
  EXPECT_EQ(local_port_range(), (PortRange{1024, 65535}));
}

TEST_F(SysctlTest, FollowsTheReservedPorts) {
  EXPECT_EQ(reserved_ports(), Ranges{});
  ASSERT_NO_FATAL_FAILURE(set_sysctl("net/ipv4/ip_local_reserved_ports", "9,20000-20003"));
  EXPECT_EQ(reserved_ports(), (Ranges{{9, 9}, {20000, 20003}}));
}

TEST_F(SysctlTest, ReadsTheLongestListOfReservedPorts) {
  {
    // The kernel takes less than a page at a time, and adds what follows on the same descriptor.
    std::ofstream file("/proc/sys/net/ipv4/ip_local_reserved_ports");
    for (int port = 1; port < 65536; port += 2) {
      file << port << (port % 512 == 511 ? '\n' : ',');
      if (port % 512 == 511) file << std::flush;
    }
    ASSERT_TRUE(file.good());
  }
  const Ranges found = reserved_ports().value().value();
  ASSERT_EQ(found.size(), 32768U);
  EXPECT_EQ(found.back(), (PortRange{65535, 65535}));
}

TEST_F(SysctlTest, ReuseNeedsTimestamps) {
  ASSERT_NO_FATAL_FAILURE(set_sysctl("net/ipv4/tcp_timestamps", "1"));
  for (const int mode : {0, 1, 2}) {
    ASSERT_NO_FATAL_FAILURE(set_sysctl("net/ipv4/tcp_tw_reuse", std::to_string(mode)));
    EXPECT_EQ(time_wait_reuse()->mode, mode);
  }
  ASSERT_NO_FATAL_FAILURE(set_sysctl("net/ipv4/tcp_timestamps", "0"));
  EXPECT_EQ(time_wait_reuse()->mode, 0);
}

TEST_F(SysctlTest, ReuseDelayIsTheKernelsOrOneSecond) {
  EXPECT_EQ(time_wait_reuse()->min_age_ms, 1000U);
  if (!read_sysctl("net/ipv4/tcp_tw_reuse_delay")) GTEST_SKIP() << "not on this kernel";
  ASSERT_NO_FATAL_FAILURE(set_sysctl("net/ipv4/tcp_tw_reuse_delay", "250"));
  EXPECT_EQ(time_wait_reuse()->min_age_ms, 250U);
}

TEST_F(SysctlTest, ReadsSingleNumbersOnly) {
  ASSERT_NO_FATAL_FAILURE(set_sysctl("net/ipv4/tcp_fin_timeout", "37"));
  EXPECT_EQ(read_sysctl("net/ipv4/tcp_fin_timeout"), 37);
  EXPECT_FALSE(read_sysctl("net/ipv4/ip_local_port_range").is_known());
  EXPECT_TRUE(read_sysctl("net/ipv4/no_such_setting").is_absent());
  EXPECT_FALSE(read_sysctl_text("net/ipv4").is_known());
  EXPECT_EQ(read_sysctl_text("net/ipv4/tcp_fin_timeout"), "37");
}

TEST_F(SysctlTest, WhatCannotBeReadIsUnknownAndSaysWhy) {
  {
    const test::NoDescriptors none;
    EXPECT_EQ(local_port_range().why(),
              "cannot read /proc/sys/net/ipv4/ip_local_port_range: Too many open files");
    EXPECT_FALSE(reserved_ports().is_known());
    EXPECT_FALSE(time_wait_reuse().is_known());
  }
  EXPECT_TRUE(local_port_range().is_known());
  // Neither is a folder that is not there the absence of a setting in it.
  EXPECT_EQ(read_sysctl("no/such/folder").why(),
            "cannot read /proc/sys/no/such/folder: No such file or directory");
}

}  // namespace
}  // namespace portpool::kernel
