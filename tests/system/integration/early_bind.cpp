// Programs that ask for the port between bind(address, 0) and connect(), as Java and Erlang do,
// over more destinations than the range has ports to give each its own.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <numeric>
#include <vector>

#include "portpool/linux.h"
#include "system/integration/common.h"

namespace portpool::test {
namespace {

constexpr int kPortCount = 200;
constexpr int kDestinations = 10;
constexpr int kEach = 100;
constexpr int kFirstDestination = 9200;

SocketAddress destination(int i) {
  return SocketAddress("127.0.0.1:" + std::to_string(kFirstDestination + i % kDestinations));
}

// A socket that is bound and has told its port, or -1.
int named_socket(const std::string& address, bool reuse, int& port) {
  const int fd = tcp_socket(AF_INET);
  const int on = 1;
  if (reuse) CHECK_THAT(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0);
  if (bind_error(fd, SocketAddress(address)) != 0) {
    close(fd);
    return -1;
  }
  port = local_port(fd);
  return fd;
}

// ADDRESS COUNT reuse|plain together|apart: COUNT sockets, each bound to ADDRESS and asked for its
// port before it connects; all bound before the first connects, or one after the other. Says how
// many were connected, and how many from the port that they had told.
GUEST(early_binds) {
  const int count = std::stoi(arguments.at(1));
  const bool reuse = arguments.at(2) == "reuse";
  const bool together = arguments.at(3) == "together";
  struct Named {
    int fd;
    int port = 0;
  };
  std::vector<Named> sockets;
  int connected = 0;
  int kept = 0;
  int named = 0;
  const auto make = [&] {
    Named socket{-1};
    socket.fd = named_socket(arguments.at(0), reuse, socket.port);
    named += socket.fd >= 0 && socket.port >= kLowPort && socket.port < kLowPort + kPortCount;
    sockets.push_back(socket);
  };
  const auto join = [&](const Named& socket, int i) {
    if (socket.fd < 0 || connect_error(socket.fd, destination(i)) != 0) return;
    CHECK_THAT(echo_round_trip(socket.fd));
    ++connected;
    kept += local_port(socket.fd) == socket.port;
  };
  for (int i = 0; i < count; ++i) {
    make();
    if (!together) join(sockets.back(), i);
  }
  for (int i = 0; together && i < count; ++i) join(sockets[static_cast<std::size_t>(i)], i);
  say("named " + std::to_string(named) + ", connected " + std::to_string(connected));
  if (arguments.size() > 4) say("kept " + std::to_string(kept));
  for (const Named& socket : sockets) {
    if (socket.fd >= 0) close_with_reset(socket.fd);
  }
}

const GuestResult kAll{0, "named 1000, connected 1000\n", ""};

class EarlyBind : public testing::Test {
 protected:
  EarlyBind() { net.set_port_range(kLowPort, kLowPort + kPortCount - 1); }

  static std::vector<std::uint16_t> ports() {
    std::vector<std::uint16_t> list(kDestinations);
    std::iota(list.begin(), list.end(), static_cast<std::uint16_t>(kFirstDestination));
    return list;
  }

  // With promises for sockets bound to `address`, and lanes for all destinations: toward each, for
  // sockets that say their source, too, which is another question to poold. By the bind strategy a
  // port that the kernel has chosen until then is closed to all.
  void start(const std::string& address = "127.0.0.1:0", const std::string& config = "") {
    poold = std::make_unique<Poold>(config);
    std::vector<std::string> all;
    for (int i = 0; i < kDestinations; ++i) all.push_back(destination(i).text());
    poold->make_lanes(all);
    const Arguments one_each{address, std::to_string(kDestinations), "plain", "apart"};
    EXPECT_TRUE(eventually([&] {
      const std::uint64_t before = fallbacks(poold->status(), "no_lane");
      run_guest("early_binds", poold->shim(), one_each);
      const auto status = poold->status();
      return fallbacks(status, "no_lane") == before &&
             (!config.empty() || !status.at("promises").empty());
    }));
  }
  GuestResult early_binds(const std::string& address, const std::string& reuse,
                          const std::string& order) const {
    return run_guest("early_binds", poold->shim(),
                     {address, std::to_string(kDestinations * kEach), reuse, order});
  }
  // Again where a starved daemon's heartbeat sent a connect to the kernel, which by the bind
  // strategy closes a port to all.
  GuestResult served_early_binds(const std::string& address, const std::string& reuse,
                                 const std::string& order) const {
    const auto stale = [&] { return fallbacks(poold->status(), "stale_heartbeat"); };
    for (;;) {
      const std::uint64_t before = stale();
      const GuestResult result = early_binds(address, reuse, order);
      if (result == kAll || stale() == before) return result;
    }
  }
  static std::uint64_t counter(const nlohmann::json& status, const std::string& name) {
    return status.at("counters").at(name).get<std::uint64_t>();
  }

  PrivateNet net;
  EchoServer servers{ports()};
  std::unique_ptr<Poold> poold;
};

TEST_F(EarlyBind, NativelyTheRangeIsThereOnce) {
  const Arguments arguments{"127.0.0.1:0", "1000", "plain", "apart"};
  EXPECT_EQ(run_guest("early_binds", native(), arguments),
            (GuestResult{0, "named 200, connected 200\n", ""}));
}

TEST_F(EarlyBind, EachDestinationHasTheWholeRange) {
  for (const char* address : {"127.0.0.1:0", "0.0.0.0:0"}) {
    start(address);
    for (const char* reuse : {"plain", "reuse"}) {
      for (const char* order : {"apart", "together"}) {
        EXPECT_EQ(served_early_binds(address, reuse, order), kAll) << address << reuse << order;
      }
    }
    EXPECT_GE(counter(poold->status(), "ports_promised"), 4000U);
  }
}

// While ports are free toward the destination, what the program was told is so.
TEST_F(EarlyBind, PromisesAreKept) {
  start();
  const Arguments arguments{"127.0.0.1:0", "90", "plain", "together", "kept"};
  EXPECT_EQ(run_guest("early_binds", poold->shim(), arguments),
            (GuestResult{0, "named 90, connected 90\nkept 90\n", ""}));
  EXPECT_EQ(counter(poold->status(), "promises_broken"), 0U);
}

TEST_F(EarlyBind, RealIsAsNatively) {
  start("127.0.0.1:0", "[[pool]]\nname = \"all\"\nearly_bind = \"real\"\n");
  const nlohmann::json status = poold->status();
  EXPECT_EQ(counter(status, "ports_promised"), 0U);
  EXPECT_EQ(early_binds("127.0.0.1:0", "plain", "apart"),
            (GuestResult{0, "named 200, connected 200\n", ""}));
}

// What a program may do with such a socket. ADDRESS DESTINATION DEAD: nobody listens at DEAD.
struct Told {
  explicit Told(const std::string& address) {
    fd = tcp_socket(SocketAddress(address).family());
    CHECK_THAT(bind_error(fd, SocketAddress(address)) == 0);
    port = local_port(fd);
    CHECK_THAT(port >= kLowPort && port <= kHighPort);
  }
  ~Told() { close_with_reset(fd); }
  Told(const Told&) = delete;
  Told& operator=(const Told&) = delete;

  std::string now(int other = -1) const {
    return local_port(other >= 0 ? other : fd) == port ? "same port" : "another port";
  }
  SocketAddress own() const { return local_address(fd); }

  int fd;
  int port;
};

std::string option(int fd, int name) {
  int value = -1;
  socklen_t length = sizeof value;
  CHECK_THAT(getsockopt(fd, IPPROTO_IP, name, &value, &length) == 0);
  return std::to_string(value);
}

std::string connect_says(int fd, const SocketAddress& to) {
  return error_name(connect_error(fd, to));
}

void retry_after_errors(const Arguments& arguments) {
  const SocketAddress to(arguments.at(1));
  Told refused(arguments.at(0));
  say("refused: " + connect_says(refused.fd, SocketAddress(arguments.at(2))));
  say("then: " + connect_says(refused.fd, to));
  Told unreachable(arguments.at(0));
  const bool v4 = to.family() == AF_INET;
  const SocketAddress nowhere(v4 ? "10.9.9.9:80" : "[2001:db8::9]:80");
  CHECK_THAT(connect_error(unreachable.fd, nowhere) != 0);
  say("unreachable: " + unreachable.now());
  say("then: " + connect_says(unreachable.fd, to) + " " + unreachable.now());
  Told unix_like(arguments.at(0));
  SocketAddress wrong = to;
  wrong.raw()->sa_family = AF_UNIX;
  say("wrong family: " + connect_says(unix_like.fd, wrong) + " " + unix_like.now());
}

void other_descriptors(const Arguments& arguments) {
  const SocketAddress to(arguments.at(1));
  Told told(arguments.at(0));
  const int copy = dup(told.fd);
  say("dup: " + told.now(copy));
  say("connects: " + connect_says(copy, to) + " " + told.now() + " " + told.now(copy));
  close(copy);
  Told child(arguments.at(0));
  const pid_t pid = fork();
  if (pid == 0) {
    say("child: " + connect_says(child.fd, to) + " " + child.now());
    _exit(0);
  }
  int status = -1;
  CHECK_THAT(waitpid(pid, &status, 0) == pid && status == 0);
  say("parent: " + child.now());
}

void ranges_and_options(const Arguments& arguments) {
  const SocketAddress to(arguments.at(1));
  Told shown(arguments.at(0));
  say("range " + option(shown.fd, IP_LOCAL_PORT_RANGE) + ", no port " +
      option(shown.fd, IP_BIND_ADDRESS_NO_PORT));
  Told own(arguments.at(0));
  const std::uint32_t elsewhere = own.port < 25000 ? 29000U << 16 | 28000U : 22000U << 16 | 21000U;
  const int set = setsockopt(own.fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, &elsewhere, sizeof elsewhere);
  say("own range: " + std::to_string(set) + " " + connect_says(own.fd, to) + " " + own.now());
  Told late(arguments.at(0));
  const int on = 1;
  CHECK_THAT(setsockopt(late.fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on) == 0);
  say("no port asked for afterwards: " + late.now() + " " + connect_says(late.fd, to) + " " +
      late.now());
}

void listeners(const Arguments& arguments) {
  Told listener(arguments.at(0));
  CHECK_THAT(listen(listener.fd, 8) == 0);
  say("listens: " + listener.now() + ", range " + option(listener.fd, IP_LOCAL_PORT_RANGE));
  const int client = connected_socket(listener.own());
  const int accepted = accept(listener.fd, nullptr, nullptr);
  CHECK_THAT(client >= 0 && accepted >= 0);
  say("accepted: range " + option(accepted, IP_LOCAL_PORT_RANGE) + ", no port " +
      option(accepted, IP_BIND_ADDRESS_NO_PORT));
  close_with_reset(client);
  close(accepted);
  Told twice(arguments.at(0));
  say("second bind: " + error_name(bind_error(twice.fd, SocketAddress(arguments.at(0)))) + " " +
      twice.now());
  Told taken(arguments.at(0));
  const int other = tcp_socket(taken.own().family());
  say("bound by another socket: " + error_name(bind_error(other, taken.own())));
  close(other);
  say("and listens: " + error_name(listen(taken.fd, 1) == 0 ? 0 : errno) + " " + taken.now());
}

void connections_of_all_kinds(const Arguments& arguments) {
  const SocketAddress to(arguments.at(1));
  Told itself(arguments.at(0));
  say("to itself: " + connect_says(itself.fd, itself.own()) + " " + itself.now());
  Told waits(arguments.at(0));
  CHECK_THAT(fcntl(waits.fd, F_SETFL, O_NONBLOCK) == 0);
  say("non-blocking: " + connect_says(waits.fd, to) + " " + waits.now());
  Told again(arguments.at(0));
  CHECK_THAT(connect_error(again.fd, to) == 0);
  sockaddr nothing{};
  nothing.sa_family = AF_UNSPEC;
  CHECK_THAT(connect(again.fd, &nothing, sizeof nothing) == 0);
  say("dissolved and connected again: " + connect_says(again.fd, to));
}

GUEST(told_its_port) {
  retry_after_errors(arguments);
  other_descriptors(arguments);
  ranges_and_options(arguments);
  listeners(arguments);
  connections_of_all_kinds(arguments);
}

GUEST(told_after_exec) {
  const int fd = std::stoi(arguments.at(0));
  CHECK_THAT(local_port(fd) == std::stoi(arguments.at(2)));
  CHECK_THAT(connect_error(fd, SocketAddress(arguments.at(1))) == 0);
  CHECK_THAT(local_port(fd) == std::stoi(arguments.at(2)));
  close_with_reset(fd);
}

GUEST(told_and_exec) {
  const Told told(arguments.at(0));
  CHECK_THAT(fcntl(told.fd, F_SETFD, 0) == 0);
  become_guest("told_after_exec",
               {std::to_string(told.fd), arguments.at(1), std::to_string(told.port)});
}

class ToldItsPort : public EchoNet {
 protected:
  // After that, sockets bound to `address` are promised their ports.
  void expect_no_difference(const std::string& address, const std::string& to,
                            const std::string& dead, const std::string& lane) {
    const Arguments arguments{address, to, dead};
    EXPECT_TRUE(eventually([&] {
      run_guest("told_its_port", poold.shim(), arguments);
      const nlohmann::json now = poold.status();
      return !now.at("promises").empty() && !lane_of(now, lane).is_null();
    }));
    const nlohmann::json before = poold.status();
    expect_same_as_native("told_its_port", poold.shim(), arguments);
    expect_same_as_native("told_and_exec", poold.shim(), arguments);
    const nlohmann::json now = poold.status();
    EXPECT_GE(now.at("counters").at("ports_promised").get<int>() -
                  before.at("counters").at("ports_promised").get<int>(),
              14);
    EXPECT_EQ(now.at("counters").at("promises_broken"), 0);
  }

  Poold poold;
};

TEST_F(ToldItsPort, OfThisHost) {
  expect_no_difference("127.0.0.2:0", kEcho, "127.0.0.1:9009", kEcho);
}
TEST_F(ToldItsPort, AnyAddress) {
  expect_no_difference("0.0.0.0:0", kEcho, "127.0.0.1:9009", kEcho);
}
TEST_F(ToldItsPort, IPv6) {
  expect_no_difference("[::1]:0", "[::1]:9001", "[::1]:9009", "[::1]:9001");
}
TEST_F(ToldItsPort, IPv4OnSocketsOfIPv6) {
  expect_no_difference("[::ffff:127.0.0.2]:0", "[::ffff:127.0.0.1]:9001", "[::ffff:127.0.0.1]:9009",
                       kEcho);
}

}  // namespace
}  // namespace portpool::test
