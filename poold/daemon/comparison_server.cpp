#include "daemon/comparison_server.h"

#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "daemon/config.h"
#include "daemon/take_over.h"

namespace portpool {
namespace {

// Visitors that neither ask nor close; beyond it the one that came first has to go.
constexpr std::size_t kKept = 64;

bool asks_to_take_over(int fd) {
  std::uint64_t magic = 0;
  return recv(fd, &magic, sizeof magic, MSG_PEEK | MSG_DONTWAIT) == sizeof magic &&
         magic == TakeOverMessage::kMagicWord;
}

}  // namespace

ComparisonServer::~ComparisonServer() {
  for (const Descriptor& connection : connections_) loop_.unwatch(connection.get());
}

void ComparisonServer::keep(Descriptor connection) {
  if (connections_.size() >= kKept) {
    const auto idle = std::find_if(connections_.begin(), connections_.end(),
                                   [&](const Descriptor& c) { return c.get() != comparing_; });
    drop(idle->get());
  }
  const int fd = connection.get();
  loop_.watch(fd, [this, fd] { hear(fd); });
  connections_.push_back(std::move(connection));
}

void ComparisonServer::hear(int fd) {
  if (fd != comparing_ && asks_to_take_over(fd)) return successor_(release(fd));
  CompareRequest request;
  const ssize_t got = recv(fd, &request, sizeof request, MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) return drop(fd);
  const CompareAnswer answer =
      got == static_cast<ssize_t>(sizeof request) ? take(request, fd) : CompareAnswer::bad_request;
  (void)!send(fd, &answer, sizeof answer, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (answer != CompareAnswer::begun) drop(fd);
}

CompareAnswer ComparisonServer::take(const CompareRequest& request, int fd) {
  const std::chrono::milliseconds block{request.block_ms};
  if (request.magic != CompareRequest::kMagicWord || block < kShortestAbBlock ||
      block > kLongestAbBlock) {
    return CompareAnswer::bad_request;
  }
  if (comparing_ == fd) return CompareAnswer::bad_request;
  if (!arms_.begin_comparison(block, request.seed)) return CompareAnswer::busy;
  comparing_ = fd;
  spdlog::info("a comparison begins: pool and kernel in turn, in blocks of {} ms", block.count());
  return CompareAnswer::begun;
}

Descriptor ComparisonServer::release(int fd) {
  loop_.unwatch(fd);
  const auto found = std::find_if(connections_.begin(), connections_.end(),
                                  [fd](const Descriptor& c) { return c.get() == fd; });
  Descriptor connection = std::move(*found);
  connections_.erase(found);
  return connection;
}

void ComparisonServer::drop(int fd) {
  (void)release(fd);
  if (fd != comparing_) return;
  comparing_ = -1;
  arms_.end_comparison();
  spdlog::info("the comparison has ended");
}

}  // namespace portpool
