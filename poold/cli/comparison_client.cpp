#include "cli/comparison_client.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/error.h"
#include "daemon/comparison_server.h"
#include "observe/segment_reader.h"

namespace portpool {
namespace {

constexpr int kPatienceMs = 5000;

// False: the daemon has closed the connection.
bool receive(const Descriptor& connection, CompareAnswer& answer, const std::string& socket) {
  pollfd ready{connection.get(), POLLIN, 0};
  if (poll(&ready, 1, kPatienceMs) != 1) {
    throw UserError(fmt::format("the daemon on {} does not answer; is it stopped?", socket));
  }
  return recv(connection.get(), &answer, sizeof answer, 0) == static_cast<ssize_t>(sizeof answer);
}

}  // namespace

ComparisonClient::ComparisonClient(const std::string& socket, std::chrono::milliseconds block,
                                   std::uint64_t seed)
    : connection_(connect_to_daemon(socket)) {
  // Every visitor is handed the segment first.
  receive_segment(connection_, socket);
  CompareRequest request;
  request.block_ms = static_cast<std::uint32_t>(block.count());
  request.seed = seed;
  CompareAnswer answer{};
  // MSG_NOSIGNAL: a daemon that does not let us has closed the connection by now.
  if (send(connection_.get(), &request, sizeof request, MSG_NOSIGNAL) !=
          static_cast<ssize_t>(sizeof request) ||
      !receive(connection_, answer, socket)) {
    throw UserError(
        "the daemon does not let this user compare: it switches every program's path, so only root "
        "and the daemon's own user may; run this command as one of them");
  }
  if (answer == CompareAnswer::busy) {
    throw UserError("another comparison is under way on this daemon; wait until it has ended");
  }
  if (answer != CompareAnswer::begun) {
    throw UserError("the daemon does not understand the request; is it of another version?");
  }
}

}  // namespace portpool
