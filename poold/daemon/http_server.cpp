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

constexpr std::size_t kMaxVisitors = 16;
constexpr std::size_t kMaxRequest = 8192;
// A visitor that neither asks nor reads for this long makes room for others.
constexpr auto kPatience = std::chrono::seconds(5);

Descriptor listen_on(const Endpoint& place) {
  const int family = is_v4(place.address) ? AF_INET : AF_INET6;
  sockaddr_storage address;
  const socklen_t length = sockaddr_from_endpoint(place, family, address);
  Descriptor listener(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP));
  const int on = 1;
  ::setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (listener && ::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), length) == 0 &&
      ::listen(listener.get(), static_cast<int>(kMaxVisitors)) == 0) {
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

std::string response(std::string_view status, const HttpPage& page, bool with_body,
                     std::string_view more = "") {
  return fmt::format(
      "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n{}\r\n{}",
      status, page.type, page.body.size(), more, with_body ? std::string_view(page.body) : "");
}

std::string refusal(std::string_view status, std::string_view more = "") {
  return response(status, {"text/plain; charset=utf-8", fmt::format("{}\n", status)}, true, more);
}

bool would_block() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

}  // namespace

HttpServer::HttpServer(const Endpoint& listen, Handler handler)
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
    // With all places taken, the others wait in the listen queue.
    const bool room = visitors_.size() < kMaxVisitors;
    std::vector<pollfd> watched = {{stop_.get(), POLLIN, 0},
                                   {room ? listener_.get() : -1, POLLIN, 0}};
    int timeout_ms = -1;
    const auto now = std::chrono::steady_clock::now();
    for (const Visitor& visitor : visitors_) {
      const short wanted = visitor.answer.empty() ? POLLIN : POLLOUT;
      watched.push_back({visitor.socket.get(), wanted, 0});
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(visitor.deadline - now);
      const int ms = static_cast<int>(std::max<std::int64_t>(left.count(), 0));
      timeout_ms = timeout_ms < 0 ? ms : std::min(timeout_ms, ms);
    }
    if (::poll(watched.data(), watched.size(), timeout_ms) < 0 && errno != EINTR) return;
    if (watched[0].revents != 0) return;
    const auto after = std::chrono::steady_clock::now();
    for (std::size_t i = visitors_.size(); i-- > 0;) {
      Visitor& visitor = visitors_[i];
      const bool stays = watched[i + 2].revents != 0 ? serve(visitor) : visitor.deadline > after;
      if (!stays) visitors_.erase(visitors_.begin() + static_cast<std::ptrdiff_t>(i));
    }
    if (watched[1].revents != 0) accept_visitor();
  }
}

void HttpServer::accept_visitor() {
  Descriptor socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (socket) {
    visitors_.push_back(
        {std::move(socket), {}, {}, 0, std::chrono::steady_clock::now() + kPatience});
  } else if (!would_block() && errno != ECONNABORTED) {
    // No descriptor to be had: the visitor stays in the queue, and must not keep this thread busy.
    pollfd stop{stop_.get(), POLLIN, 0};
    ::poll(&stop, 1, 100);
  }
}

bool HttpServer::serve(Visitor& visitor) const {
  if (visitor.answer.empty()) {
    std::array<char, 2048> chunk;
    const ssize_t got = ::recv(visitor.socket.get(), chunk.data(), chunk.size(), 0);
    if (got <= 0) return got < 0 && would_block();
    visitor.request.append(chunk.data(), static_cast<std::size_t>(got));
    if (visitor.request.find("\r\n\r\n") != std::string::npos) {
      visitor.answer = answer_to(visitor.request);
    } else if (visitor.request.size() > kMaxRequest) {
      visitor.answer = refusal("431 Request Header Fields Too Large");
    } else {
      return true;
    }
  }
  const ssize_t sent = ::send(visitor.socket.get(), visitor.answer.data() + visitor.sent,
                              visitor.answer.size() - visitor.sent, MSG_NOSIGNAL);
  if (sent < 0) return would_block();
  visitor.sent += static_cast<std::size_t>(sent);
  visitor.deadline = std::chrono::steady_clock::now() + kPatience;
  return visitor.sent < visitor.answer.size();
}

// The request line is METHOD SP TARGET SP VERSION (RFC 9112, 3).
std::string HttpServer::answer_to(std::string_view request) const {
  const std::string_view line = request.substr(0, request.find("\r\n"));
  const std::size_t first = line.find(' ');
  const std::size_t second = line.find(' ', first == std::string_view::npos ? first : first + 1);
  if (second == std::string_view::npos || !line.substr(second + 1).starts_with("HTTP/1.")) {
    return refusal("400 Bad Request");
  }
  const std::string_view method = line.substr(0, first);
  const std::string_view target = line.substr(first + 1, second - first - 1);
  if (method != "GET" && method != "HEAD") {
    return refusal("405 Method Not Allowed", "Allow: GET, HEAD\r\n");
  }
  try {
    const auto page = handler_(target.substr(0, target.find('?')));
    return page ? response("200 OK", *page, method == "GET") : refusal("404 Not Found");
  } catch (const std::exception&) {
    return refusal("500 Internal Server Error");
  }
}

}  // namespace portpool
