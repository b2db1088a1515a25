// What most integration tests start from.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <string>
#include <string_view>

#include "portpool/fallback.h"
#include "support/echo_server.h"
#include "support/guest.h"
#include "support/poold_fixture.h"
#include "support/private_net.h"
#include "support/sockets.h"

namespace portpool::test {

inline constexpr int kLowPort = 20000;
inline constexpr int kHighPort = 29999;
inline const std::string kEcho = "127.0.0.1:9001";
inline const std::string kOtherEcho = "127.0.0.1:9002";

// A private network with a port range of 10,000 and echo servers on 9001 and 9002 outside it.
class EchoNet : public testing::Test {
 protected:
  EchoNet() { net.set_port_range(kLowPort, kHighPort); }

  PrivateNet net;
  EchoServer server{{9001, 9002}};
};

// The same with a daemon that has a lane for kEcho.
class PooledNet : public EchoNet {
 protected:
  PooledNet() { poold.make_lanes({kEcho}); }

  Poold poold;
};

// Runs the guest natively and under the shim: the outcome must be the same, and good.
void expect_same_as_native(const std::string& guest, const Under& under,
                           const Arguments& arguments = {});

// Why calls take the kernel's path, in the shim's words.
std::string sentence_of(FallbackReason reason);

// Guests that more than one topic uses:
//   echo_often DESTINATION COUNT     connects, echoes and closes COUNT times
//   echo_on_demand DESTINATION       does so once for each line it is sent; says "done"
}  // namespace portpool::test
