#include "kernel/routes.h"

#include <cstdlib>

#include "support/eventually.h"
#include "support/no_descriptors.h"
#include "unit/kernel/private_namespace.h"
#include "unit/kernel/tcp_sockets.h"

namespace portpool::kernel {
namespace {

class RoutesTest : public PrivateNamespace {
 protected:
  // iproute2 stands in for the administrator.
  static void ip(const std::string& arguments) {
    ASSERT_EQ(std::system(("ip " + arguments).c_str()), 0) << arguments;
  }
};

TEST_F(RoutesTest, LoopbackIsLocal) {
  const auto v4 = route_to(address("127.0.0.1"));
  ASSERT_TRUE(v4);
  EXPECT_TRUE(v4->local);
  EXPECT_EQ(v4->source, address("127.0.0.1"));
  const auto v6 = route_to(address("::1"));
  ASSERT_TRUE(v6);
  EXPECT_TRUE(v6->local);
  EXPECT_EQ(v6->source, address("::1"));
}

TEST_F(RoutesTest, TheSourceIsTheOneThatConnectPicks) {
  TcpSocket server = listener(AF_INET, "127.9.9.9");
  const Connection pair = connection(server, AF_INET, server.local());
  const auto route = route_to(server.local().address);
  ASSERT_TRUE(route);
  EXPECT_EQ(route->source, pair.client.local().address);
}

TEST_F(RoutesTest, NoRouteNoAnswer) {
  EXPECT_TRUE(route_to(address("10.1.2.3")).is_absent());
  EXPECT_TRUE(route_to(address("2001:db8::1")).is_absent());
  EXPECT_TRUE(route_to(address("0.0.0.0")).is_absent());
  EXPECT_TRUE(route_to(address("::")).is_absent());
}

TEST_F(RoutesTest, FollowsAnInterfaceRoute) {
  ASSERT_NO_FATAL_FAILURE(ip("link add d0 type veth peer name d1"));
  ASSERT_NO_FATAL_FAILURE(ip("link set d0 up"));
  ASSERT_NO_FATAL_FAILURE(ip("link set d1 up"));
  ASSERT_NO_FATAL_FAILURE(ip("addr add 10.1.2.1/24 dev d0"));
  ASSERT_NO_FATAL_FAILURE(ip("addr add 2001:db8::1/64 dev d0 nodad"));
  const auto v4 = route_to(address("10.1.2.3"));
  ASSERT_TRUE(v4);
  EXPECT_FALSE(v4->local);
  EXPECT_EQ(v4->source, address("10.1.2.1"));
  const auto v6 = route_to(address("2001:db8::3"));
  ASSERT_TRUE(v6);
  EXPECT_FALSE(v6->local);
  EXPECT_EQ(v6->source, address("2001:db8::1"));
  EXPECT_EQ(is_local_address(address("10.1.2.1")), true);
  // The kernel makes the address local when it has noticed that the link is up.
  EXPECT_TRUE(test::eventually([] { return is_local_address(address("2001:db8::1")) == true; }));
  EXPECT_EQ(is_local_address(address("10.1.2.3")), false);
  EXPECT_EQ(is_local_address(address("2001:db8::3")), false);
  EXPECT_TRUE(route_to(address("10.1.2.255")).is_absent()) << "broadcast";
}

TEST_F(RoutesTest, RefusingRoutesAreNoRoutes) {
  for (const char* type : {"unreachable", "prohibit", "blackhole"}) {
    ASSERT_NO_FATAL_FAILURE(ip("route add " + std::string(type) + " 10.7.0.0/16"));
    EXPECT_TRUE(route_to(address("10.7.0.1")).is_absent()) << type;
    ASSERT_NO_FATAL_FAILURE(ip("route del 10.7.0.0/16"));
    ASSERT_NO_FATAL_FAILURE(ip("-6 route add " + std::string(type) + " 2001:db8:7::/48"));
    EXPECT_TRUE(route_to(address("2001:db8:7::1")).is_absent()) << type;
    ASSERT_NO_FATAL_FAILURE(ip("-6 route del " + std::string(type) + " 2001:db8:7::/48"));
  }
}

TEST_F(RoutesTest, TellsLocalAddresses) {
  EXPECT_EQ(is_local_address(address("127.0.0.1")), true);
  EXPECT_EQ(is_local_address(address("127.9.9.9")), true);
  EXPECT_EQ(is_local_address(address("::1")), true);
  EXPECT_EQ(is_local_address(address("10.1.2.3")), false);
  EXPECT_EQ(is_local_address(address("2001:db8::1")), false);
  EXPECT_EQ(is_local_address(address("0.0.0.0")), false);
}

TEST_F(RoutesTest, ThatTheKernelCannotBeAskedIsNoAnswer) {
  const test::NoDescriptors none;
  const auto route = route_to(address("127.0.0.1"));
  EXPECT_FALSE(route.is_known());
  EXPECT_FALSE(route.is_absent());
  EXPECT_EQ(route.why(), "cannot ask the kernel for a route: Too many open files");
  EXPECT_FALSE(is_local_address(address("127.0.0.1")).is_known());
}

}  // namespace
}  // namespace portpool::kernel
