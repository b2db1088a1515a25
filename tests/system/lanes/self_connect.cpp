// A program that tries again and again to connect to a port of this host on which nobody listens,
// and which the pool may give out: from that very port the socket would connect to itself (a
// simultaneous open, RFC 9293 section 3.5). The kernel's own choice does that now and then; the
// pool never.
#include <unistd.h>

#include "support/sockets.h"
#include "system/lanes/lane_net.h"

namespace portpool::test {
namespace {

constexpr int kPortCount = 8;
constexpr int kTries = 3000;

// Tries to connect to each of DESTINATION..., TRIES times. Says how often each way it ended.
GUEST(retry) {
  const int tries = std::stoi(arguments.at(0));
  int refused = 0;
  int itself = 0;
  for (int i = 0; i < tries; ++i) {
    for (std::size_t d = 1; d < arguments.size(); ++d) {
      const SocketAddress destination(arguments[d]);
      const int fd = tcp_socket(arguments[d][0] == '[' ? AF_INET6 : AF_INET);
      CHECK_THAT(fd >= 0);
      const int error = connect_error(fd, destination);
      CHECK_THAT(error == 0 || error == ECONNREFUSED);
      ++(error == 0 ? itself : refused);
      error == 0 ? close_with_reset(fd) : void(close(fd));
    }
  }
  say("refused " + std::to_string(refused) + ", connected to itself " + std::to_string(itself));
}

class SelfConnect : public EachStrategy {
 protected:
  // Of the range; the mapped form goes by the lane of the plain one.
  Arguments arguments() const {
    const std::string port = std::to_string(kLow + 3);
    return {std::to_string(kTries), kHost + ":" + port, "10.9.8.7:" + port, "[::1]:" + port,
            "[::ffff:127.0.0.1]:" + port};
  }

  void prepare(const std::string& config = "") {
    net.add_address("10.9.8.7/24");
    start(kPortCount, config);
    const Arguments all = arguments();
    for (std::size_t d = 1; d + 1 < all.size(); ++d) make_lane(all[d]);
  }

  void expect_none() {
    const std::uint64_t before = pool_connects(poold->status());
    const GuestResult result = run_guest("retry", poold->shim(), arguments());
    EXPECT_EQ(result,
              (GuestResult{0, "refused " + std::to_string(4 * kTries) + ", connected to itself 0\n",
                           ""}));
    EXPECT_GE(pool_connects(poold->status()) - before, 4U * kTries * 99 / 100)
        << "the kernel's own choice would tell nothing: " << poold->status().at("fallbacks");
  }
};
PORTPOOL_EACH_STRATEGY(SelfConnect);

TEST_P(SelfConnect, NeverByThePool) {
  prepare();
  expect_none();
}

TEST_P(SelfConnect, NeverFromANamedSource) {
  prepare(
      "[[pool]]\nname = \"own\"\ndestinations = [\"127.0.0.1\", \"10.9.8.7\"]\nsources = "
      "[\"127.0.0.1\", \"10.9.8.7\"]\n");
  expect_none();
}

}  // namespace
}  // namespace portpool::test
