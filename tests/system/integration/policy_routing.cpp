// Routing by more than the destination: the source address is the one that an unshimmed program
// gets.
#include <net/if.h>
#include <netinet/tcp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "support/far_side.h"
#include "system/integration/common.h"

namespace portpool::test {
namespace {

const std::string kFar = kFarHost + ":9001";
const std::string kFarV6 = kFarHostV6 + ":9001";
constexpr int kConnects = 6;

// By a system call: `unseen` options are set in ways that no interposed function sees.
void set_option(int fd, int level, int name, const void* value, socklen_t length, bool unseen) {
  CHECK_THAT((unseen ? syscall(SYS_setsockopt, fd, level, name, value, length)
                     : setsockopt(fd, level, name, value, length)) == 0);
}

void set_number(int fd, int level, int name, int value, bool unseen) {
  set_option(fd, level, name, &value, sizeof value, unseen);
}

// "mark=7", "device=u2", "index=u2", "tos=16".
void apply(const std::string& option, int fd, bool unseen) {
  const std::size_t equals = option.find('=');
  const std::string name = option.substr(0, equals);
  const std::string value = option.substr(equals + 1);
  if (name == "mark") {
    set_number(fd, SOL_SOCKET, SO_MARK, std::stoi(value), unseen);
  } else if (name == "device") {
    set_option(fd, SOL_SOCKET, SO_BINDTODEVICE, value.c_str(),
               static_cast<socklen_t>(value.size() + 1), unseen);
  } else if (name == "index") {
    set_number(fd, SOL_SOCKET, SO_BINDTOIFINDEX, static_cast<int>(if_nametoindex(value.c_str())),
               unseen);
  } else if (name == "tos") {
    set_number(fd, IPPROTO_IP, IP_TOS, std::stoi(value), unseen);
  }
}

std::string host_of(const SocketAddress& address) {
  const std::string text = address.text();
  return text.substr(0, text.rfind(':'));
}

// DESTINATION OPTION WAY: connects with the option and says from which address. WAY is 'plainly',
// 'nonblocking', 'unseen', or 'duplicate' (the option is set on a duplicate of the socket).
GUEST(connect_with_option) {
  const SocketAddress destination(arguments.at(0));
  const std::string& option = arguments.at(1);
  const std::string& way = arguments.at(2);
  if (option.starts_with("uid=")) {
    const auto uid = static_cast<uid_t>(std::stoi(option.substr(4)));
    CHECK_THAT(setresuid(uid, uid, uid) == 0);
  }
  for (int i = 0; i < kConnects; ++i) {
    const int fd = tcp_socket(destination.family(), way == "nonblocking" ? SOCK_NONBLOCK : 0);
    CHECK_THAT(fd >= 0);
    // One that gets no answer shall not take a minute.
    set_number(fd, IPPROTO_TCP, TCP_SYNCNT, 1, true);
    const int other = way == "duplicate" ? dup(fd) : -1;
    apply(option, other >= 0 ? other : fd, way == "unseen");
    int error = connect_error(fd, destination);
    if (error == EINPROGRESS) error = finish_connect(fd);
    say(error_name(error) + " " + host_of(local_address(fd)));
    CHECK_THAT(error == 0);
    CHECK_THAT(echo_round_trip(fd));
    if (other >= 0) close(other);
    close_with_reset(fd);
  }
}

GuestResult always_from(const std::string& host) {
  GuestResult result;
  for (int i = 0; i < kConnects; ++i) result.out += "ok " + host + "\n";
  return result;
}

class PolicyRouting : public testing::Test {
 protected:
  PolicyRouting() {
    net.set_port_range(kLowPort, kHighPort);
    net.set_sysctl("net.ipv4.conf.all.rp_filter", "0");
    far = std::make_unique<FarSide>(std::vector<std::uint16_t>{9001});
  }

  // A daemon, and a lane toward each of `destinations` that programs without such options use.
  void start(const std::string& config, const std::vector<std::string>& destinations) {
    poold = std::make_unique<Poold>(config);
    poold->make_lanes(destinations);
    for (const std::string& destination : destinations) {
      EXPECT_TRUE(eventually([&] {
        const std::uint64_t before = pool_connects(poold->status());
        run_guest("connect_with_option", poold->shim(), {destination, "none=0", "plainly"});
        return pool_connects(poold->status()) - before == kConnects;
      })) << poold->status();
    }
  }

  // Natively from `host`, and so under the shim; again when poold may have made lanes for it.
  void expect_native(const std::string& host, const Arguments& arguments) {
    SCOPED_TRACE(testing::PrintToString(arguments));
    EXPECT_EQ(run_guest("connect_with_option", native(), arguments), always_from(host))
        << "natively";
    for (int round = 0; round < 2; ++round) {
      EXPECT_EQ(run_guest("connect_with_option", poold->shim(), arguments), always_from(host))
          << "round " << round;
    }
    // Those without the option are not led astray.
    const bool v6 = arguments.at(0) == kFarV6;
    EXPECT_EQ(
        run_guest("connect_with_option", poold->shim(), {arguments.at(0), "none=0", "plainly"}),
        always_from(v6 ? kFirstUplinkV6 : plain_source));
  }

  PrivateNet net;
  std::unique_ptr<FarSide> far;
  std::unique_ptr<Poold> poold;
  std::string plain_source = kFirstUplink;
};

TEST_F(PolicyRouting, BoundToADevice) {
  start("", {kFar, kFarV6});
  expect_native(kSecondUplink, {kFar, "device=u2", "plainly"});
  expect_native(kSecondUplink, {kFar, "index=u2", "nonblocking"});
  expect_native(kSecondUplinkV6, {kFarV6, "device=u2", "plainly"});
}

TEST_F(PolicyRouting, BoundToADeviceUnseen) {
  start("", {kFar});
  expect_native(kSecondUplink, {kFar, "device=u2", "unseen"});
  expect_native(kSecondUplink, {kFar, "device=u2", "duplicate"});
}

TEST_F(PolicyRouting, Marked) {
  ip("rule add fwmark 7 lookup 100");
  ip("-6 rule add fwmark 7 lookup 100");
  start("", {kFar, kFarV6});
  expect_native(kSecondUplink, {kFar, "mark=7", "plainly"});
  expect_native(kSecondUplink, {kFar, "mark=7", "nonblocking"});
  expect_native(kSecondUplinkV6, {kFarV6, "mark=7", "plainly"});
}

TEST_F(PolicyRouting, MarkedUnseen) {
  ip("rule add fwmark 7 lookup 100");
  start("", {kFar});
  expect_native(kSecondUplink, {kFar, "mark=7", "unseen"});
  expect_native(kSecondUplink, {kFar, "mark=7", "duplicate"});
}

TEST_F(PolicyRouting, ByTypeOfService) {
  ip("rule add tos 0x10 lookup 100");
  start("", {kFar});
  expect_native(kSecondUplink, {kFar, "tos=16", "plainly"});
  expect_native(kSecondUplink, {kFar, "tos=16", "unseen"});
}

TEST_F(PolicyRouting, ByUser) {
  if (read_whole_file("/proc/self/uid_map").find("4294967295") == std::string::npos) {
    GTEST_SKIP() << "there is no other user here";
  }
  ip("rule add uidrange 1000-1000 lookup 100");
  start("", {kFar});
  expect_native(kSecondUplink, {kFar, "uid=1000", "plainly"});
  expect_native(kSecondUplink, {kFar, "uid=1000", "nonblocking"});
}

// A mark that leads to where only one uplink's address may go: the other is not tried.
TEST_F(PolicyRouting, MarkThatOnlyOneSourceMayUse) {
  ip("rule add fwmark 7 lookup 100");
  start("", {kFar});
  ip("rule add from 10.1.0.1 fwmark 7 prohibit pref 50");
  expect_native(kSecondUplink, {kFar, "mark=7", "plainly"});
}

class NamedSources : public PolicyRouting {
 protected:
  // A pool with sources, which sockets without a routing option of their own use.
  void start_with_sources() {
    net.add_address("10.5.0.1/32");
    net.add_address("10.5.0.2/32");
    start("[[pool]]\nname = \"test\"\nsources = [\"10.5.0.1\", \"10.5.0.2\"]\n", {kFar});
    plain_source = "10.5.0.1";
    EXPECT_EQ(run_guest("connect_with_option", poold->shim(), {kFar, "none=0", "plainly"}),
              always_from(plain_source));
  }
};

TEST_F(NamedSources, AreNotForSocketsBoundToADevice) {
  start_with_sources();
  expect_native(kSecondUplink, {kFar, "device=u2", "plainly"});
  expect_native(kSecondUplink, {kFar, "index=u2", "nonblocking"});
  expect_native(kFirstUplink, {kFar, "device=u1", "plainly"});
}

TEST_F(NamedSources, AreNotForMarkedSockets) {
  ip("rule add fwmark 7 lookup 100");
  start_with_sources();
  expect_native(kSecondUplink, {kFar, "mark=7", "plainly"});
  expect_native(kSecondUplink, {kFar, "mark=7", "nonblocking"});
  // No rule knows this one; whoever set it may filter or translate by it.
  expect_native(kFirstUplink, {kFar, "mark=8", "plainly"});
}

TEST_F(NamedSources, AreNotForSocketsWithOptionsUnseen) {
  ip("rule add fwmark 7 lookup 100");
  start_with_sources();
  expect_native(kSecondUplink, {kFar, "mark=7", "unseen"});
  expect_native(kSecondUplink, {kFar, "mark=7", "duplicate"});
  expect_native(kSecondUplink, {kFar, "device=u2", "duplicate"});
}

}  // namespace
}  // namespace portpool::test
