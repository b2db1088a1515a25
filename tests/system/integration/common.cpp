#include "system/integration/common.h"

#include <unistd.h>

namespace portpool::test {
namespace {

void echo_once(const SocketAddress& destination) {
  const int fd = connected_socket(destination);
  CHECK_THAT(fd >= 0);
  CHECK_THAT(local_port(fd) >= kLowPort && local_port(fd) <= kHighPort);
  CHECK_THAT(peer_address(fd).text() == destination.text());
  CHECK_THAT(echo_round_trip(fd));
  CHECK_THAT(close(fd) == 0);
}

}  // namespace

GUEST(echo_often) {
  const SocketAddress destination(arguments.at(0));
  for (int i = 0; i < std::stoi(arguments.at(1)); ++i) echo_once(destination);
}

GUEST(echo_on_demand) {
  const SocketAddress destination(arguments.at(0));
  for (;;) {
    await_line();
    echo_once(destination);
    say("done");
  }
}

void expect_same_as_native(const std::string& guest, const Under& under,
                           const Arguments& arguments) {
  const GuestResult natively = run_guest(guest, native(), arguments);
  EXPECT_EQ(natively.status, 0) << "natively: " << natively.err;
  EXPECT_EQ(run_guest(guest, under, arguments), natively) << guest;
}

std::string sentence_of(FallbackReason reason) {
  return std::string(kFallbackTexts[static_cast<std::size_t>(reason)].sentence);
}

}  // namespace portpool::test
