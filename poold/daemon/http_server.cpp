#include "daemon/http_server.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <system_error>

#include "base/address_text.h"
#include "base/error.h"
#include "base/thread.h"

namespace portpool {
namespace {

constexpr std::size_t kMaxVisitors = 64;
// For the whole request, and then for each part of the answer to be taken.
constexpr auto kPatience = std::chrono::seconds(5);
// For the visitor to close, once it has its answer.
constexpr auto kFarewell = std::chrono::seconds(2);
constexpr std::size_t kMaxIgnored = std::size_t{1024} * 1024;
// Before the next try to accept, where there was no descriptor left.
constexpr auto kDescriptorPause = std::chrono::milliseconds(100);

Descriptor listen_on(const Endpoint& place) {
  const int family = is_v4(place.address) ? AF_INET : AF_INET6;
  sockaddr_storage address;
  const socklen_t length = sockaddr_from_endpoint(place, family, address);
  Descriptor listener(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP));
  const int on = 1;
  ::setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (listener && ::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), length) == 0 &&
      ::listen(listener.get(), SOMAXCONN) == 0) {
    return listener;
  }
  const int reason = errno;
  throw UserError(
      fmt::format("cannot listen on {} for metrics: {}; {}, or set metrics_listen = \"\"",
                  to_text(place), std::strerror(reason),
                  reason == EADDRINUSE ? "end the program that listens there, choose another port"
                  : reason == EADDRNOTAVAIL ? "choose an address of this host"
                                            : "choose another address or port"));
}

bool would_block() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

}  // namespace

HttpServer::HttpServer(const Endpoint& listen, HttpHandler handler)
    : handler_(std::move(handler)),
      listener_(listen_on(listen)),
      stop_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!stop_) throw std::system_error(errno, std::generic_category(), "eventfd");
  thread_ = thread_without_signals([this] { run(); });
}

HttpServer::~HttpServer() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(stop_.get(), &one, sizeof one);
  thread_.join();
}

void HttpServer::run() {
  for (;;) {
    const auto now = Clock::now();
    const bool accepts = now >= accept_from_;
    std::vector<pollfd> watched = {{stop_.get(), POLLIN, 0},
                                   {accepts ? listener_.get() : -1, POLLIN, 0}};
    auto next = accepts ? Clock::time_point::max() : accept_from_;
    for (const Visitor& visitor : visitors_) {
      const short wanted = visitor.stage == Stage::answered ? POLLOUT : POLLIN;
      watched.push_back({visitor.socket.get(), wanted, 0});
      next = std::min(next, visitor.deadline);
    }
    int timeout_ms = -1;
    if (next != Clock::time_point::max()) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(next - now);
      timeout_ms = static_cast<int>(std::max<std::int64_t>(left.count(), 0));
    }
    if (::poll(watched.data(), watched.size(), timeout_ms) < 0 && errno != EINTR) return;
    if (watched[0].revents != 0) return;
    const auto after = Clock::now();
    for (std::size_t i = visitors_.size(); i-- > 0;) {
      Visitor& visitor = visitors_[i];
      const bool stays =
          visitor.deadline > after && (watched[i + 2].revents == 0 || serve(visitor));
      if (!stays) visitors_.erase(visitors_.begin() + static_cast<std::ptrdiff_t>(i));
    }
    if (watched[1].revents != 0) accept_visitors();
  }
}

void HttpServer::accept_visitors() {
  for (std::size_t left = kMaxVisitors; left > 0; --left) {
    Descriptor socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!socket) {
      if (would_block() || errno == ECONNABORTED) return;
      // The visitor stays in the queue, and must not keep this thread busy.
      accept_from_ = Clock::now() + kDescriptorPause;
      return;
    }
    Visitor visitor{std::move(socket), Clock::now() + kPatience, {}, {}, {}, 0, 0};
    // Most have asked by now, and are served however many others come.
    if (!serve(visitor)) continue;
    if (visitors_.size() == kMaxVisitors) make_room();
    visitors_.push_back(std::move(visitor));
  }
}

void HttpServer::make_room() {
  const auto idle = std::find_if(visitors_.begin(), visitors_.end(), [](const Visitor& visitor) {
    return visitor.stage != Stage::answered;
  });
  visitors_.erase(idle != visitors_.end() ? idle : visitors_.begin());
}

bool HttpServer::serve(Visitor& visitor) const {
  if (visitor.stage == Stage::asking && !read_request(visitor)) return false;
  if (visitor.stage == Stage::answered && !send_answer(visitor)) return false;
  return visitor.stage != Stage::leaving || see_off(visitor);
}

bool HttpServer::read_request(Visitor& visitor) const {
  std::array<char, 2048> chunk;
  const ssize_t got = ::recv(visitor.socket.get(), chunk.data(), chunk.size(), 0);
  if (got <= 0) return got < 0 && would_block();
  visitor.request.append(chunk.data(), static_cast<std::size_t>(got));
  auto answer = http_answer(visitor.request, handler_);
  if (!answer) return true;
  visitor.answer = *std::move(answer);
  visitor.stage = Stage::answered;
  visitor.deadline = Clock::now() + kPatience;
  return true;
}

bool HttpServer::send_answer(Visitor& visitor) const {
  const ssize_t sent = ::send(visitor.socket.get(), visitor.answer.data() + visitor.sent,
                              visitor.answer.size() - visitor.sent, MSG_NOSIGNAL);
  if (sent < 0) return would_block();
  visitor.sent += static_cast<std::size_t>(sent);
  visitor.deadline = Clock::now() + kPatience;
  if (visitor.sent < visitor.answer.size()) return true;
  visitor.stage = Stage::leaving;
  visitor.deadline = Clock::now() + kFarewell;
  return ::shutdown(visitor.socket.get(), SHUT_WR) == 0;
}

// Closed with something unread, the socket would be reset, and the visitor's kernel might throw the
// answer away before it was read (RFC 9112, 9.6): so what still comes is taken, within bounds.
bool HttpServer::see_off(Visitor& visitor) const {
  std::array<char, 16384> chunk;
  const ssize_t got = ::recv(visitor.socket.get(), chunk.data(), chunk.size(), 0);
  if (got <= 0) return got < 0 && would_block();
  visitor.ignored += static_cast<std::size_t>(got);
  return visitor.ignored < kMaxIgnored;
}

}  // namespace portpool
