#include "kernel/addresses.h"

#include <poll.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "kernel/address_events.h"
#include "support/eventually.h"
#include "support/no_descriptors.h"
#include "unit/kernel/private_namespace.h"
#include "unit/kernel/tcp_sockets.h"

namespace portpool::kernel {
namespace {

class AddressesTest : public PrivateNamespace {
 protected:
  // iproute2 stands in for the administrator.
  static void ip(const std::string& arguments) {
    ASSERT_EQ(std::system(("ip " + arguments).c_str()), 0) << arguments;
  }
  static bool has(const std::string& text) {
    const auto found = local_addresses();
    EXPECT_TRUE(found) << found.why();
    return found && found->contains(address(text.c_str()));
  }
};

TEST_F(AddressesTest, ComeAndGo) {
  for (const std::string text : {"10.1.2.3", "2001:db8::7"}) {
    const std::string one = text + (text.find(':') == std::string::npos ? "/32" : "/128");
    EXPECT_FALSE(has(text));
    ASSERT_NO_FATAL_FAILURE(ip("addr add " + one + " dev lo"));
    // One of IPv6 is tentative until the kernel's worker has been, on lo too.
    EXPECT_TRUE(test::eventually([&] { return has(text); })) << text;
    ASSERT_NO_FATAL_FAILURE(ip("addr del " + one + " dev lo"));
    EXPECT_FALSE(has(text)) << text;
  }
}

TEST_F(AddressesTest, PrefixesOfLoopbackAreThisHostsAsAWhole) {
  EXPECT_TRUE(has("127.0.0.1"));
  EXPECT_TRUE(has("127.9.9.9"));
  EXPECT_TRUE(has("::1"));
  EXPECT_FALSE(has("127.0.0.0"));
  EXPECT_FALSE(has("127.255.255.255"));
  ASSERT_NO_FATAL_FAILURE(ip("addr add 10.1.2.3/30 dev lo"));
  EXPECT_TRUE(has("10.1.2.2"));
  EXPECT_FALSE(has("10.1.2.4"));
  ASSERT_NO_FATAL_FAILURE(ip("addr add 2001:db8::1/64 dev lo"));
  EXPECT_FALSE(has("2001:db8::2"));
}

TEST_F(AddressesTest, OtherInterfacesHaveTheirOwnAddressesWhileUp) {
  ASSERT_NO_FATAL_FAILURE(ip("link add d0 type veth peer name d1"));
  ASSERT_NO_FATAL_FAILURE(ip("addr add 10.1.2.1/24 dev d0"));
  ASSERT_NO_FATAL_FAILURE(ip("addr add 10.8.0.1 peer 10.8.0.2 dev d0"));
  EXPECT_FALSE(has("10.1.2.1"));
  ASSERT_NO_FATAL_FAILURE(ip("link set d0 up"));
  EXPECT_TRUE(has("10.1.2.1"));
  EXPECT_FALSE(has("10.1.2.9"));
  EXPECT_TRUE(has("10.8.0.1"));
  EXPECT_FALSE(has("10.8.0.2")) << "the peer's";
}

TEST_F(AddressesTest, TentativeOnesAreNotThereYet) {
  ASSERT_NO_FATAL_FAILURE(ip("link add d0 type veth peer name d1"));
  ASSERT_NO_FATAL_FAILURE(ip("link set d0 up"));
  ASSERT_NO_FATAL_FAILURE(ip("addr add 2001:db8::1/64 dev d0"));  // d1 is down: no carrier
  ASSERT_NO_FATAL_FAILURE(ip("addr add 2001:db8::2/64 dev d0 nodad"));
  EXPECT_FALSE(has("2001:db8::1"));
  const std::pair wanted{address("2001:db8::1"), LocalAddresses::Pending::tentative};
  const auto found = local_addresses();
  EXPECT_EQ(found->pending().front(), wanted);
}

TEST_F(AddressesTest, DuplicatesAreNamedAsSuch) {
  ASSERT_NO_FATAL_FAILURE(ip("link add d0 type veth peer name d1"));
  for (const std::string link : {"d0", "d1"})
    ASSERT_NO_FATAL_FAILURE(ip("link set " + link + " up"));
  ASSERT_NO_FATAL_FAILURE(ip("addr add 2001:db8::1/64 dev d1 nodad"));
  ASSERT_NO_FATAL_FAILURE(ip("addr add 2001:db8::1/64 dev d0"));
  const std::pair wanted{address("2001:db8::1"), LocalAddresses::Pending::duplicate};
  EXPECT_TRUE(test::eventually([&] {
    const auto found = local_addresses();
    return found && std::count(found->pending().begin(), found->pending().end(), wanted) == 1;
  }));
}

TEST_F(AddressesTest, ComingAndGoingIsToldAtOnce) {
  AddressEvents events;
  ASSERT_GE(events.fd(), 0);
  const auto is_told = [&] {
    pollfd poll{events.fd(), POLLIN, 0};
    return ::poll(&poll, 1, 0) == 1;
  };
  EXPECT_FALSE(is_told());
  for (const std::string change : {"add 10.1.2.3/32", "del 10.1.2.3/32", "add 2001:db8::7/128"}) {
    ASSERT_NO_FATAL_FAILURE(ip("addr " + change + " dev lo"));
    EXPECT_TRUE(is_told()) << change;
    // One of IPv6 is told again once it is no longer tentative.
    EXPECT_TRUE(test::eventually([&] {
      events.drain();
      return !is_told();
    })) << change;
  }
}

TEST_F(AddressesTest, WithoutADescriptorNothingIsTold) {
  const test::NoDescriptors none;
  AddressEvents events;
  EXPECT_EQ(events.fd(), -1);
  events.drain();
}

TEST_F(AddressesTest, ManyAddressesNeedManyMessages) {
  for (int net = 0; net < 4; ++net) {
    std::string batch;
    for (int host = 1; host < 255; ++host) {
      batch += "addr add 10.1." + std::to_string(net) + "." + std::to_string(host) + "/32 dev lo\n";
    }
    ASSERT_NO_FATAL_FAILURE(ip("-batch - <<EOF\n" + batch + "EOF"));
  }
  const auto found = local_addresses();
  ASSERT_TRUE(found);
  EXPECT_GE(found->all().size(), 4U * 254);
  EXPECT_TRUE(found->contains(address("10.1.0.1")));
  EXPECT_TRUE(found->contains(address("10.1.3.254")));
}

TEST_F(AddressesTest, ThatTheKernelCannotBeAskedIsNoAnswer) {
  const test::NoDescriptors none;
  const auto found = local_addresses();
  EXPECT_FALSE(found.is_known());
  EXPECT_EQ(found.why(), "cannot ask the kernel for this host's addresses: Too many open files");
}

}  // namespace
}  // namespace portpool::kernel
