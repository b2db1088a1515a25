#include "daemon/http_answer.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>

namespace portpool {
namespace {

// Of the request line and all headers.
constexpr std::size_t kMaxRequest = 8192;

std::string response(const HttpPage& page, bool with_body, std::string_view more = "") {
  return fmt::format(
      "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n{}\r\n{}",
      page.status, page.type, page.body.size(), more, with_body ? std::string_view(page.body) : "");
}

std::string refusal(std::string_view status, bool with_body = true, std::string_view more = "") {
  return response({"text/plain; charset=utf-8", fmt::format("{}\n", status), status}, with_body,
                  more);
}

// The path of a request target: of the origin form "/metrics?x", or of the absolute form
// "http://host/metrics" that a server must take, too (RFC 9112, 3.2.2). As it is where it is
// neither.
std::string_view path_of(std::string_view target) {
  constexpr std::string_view kScheme = "http://";
  const bool absolute =
      target.size() > kScheme.size() &&
      std::equal(kScheme.begin(), kScheme.end(), target.begin(),
                 [](char wanted, char c) { return wanted == (c | 0x20) || wanted == c; });
  if (absolute) {
    const std::size_t end = target.find_first_of("/?", kScheme.size());
    target = end == std::string_view::npos ? "" : target.substr(end);
  }
  const std::string_view path = target.substr(0, target.find('?'));
  return absolute && path.empty() ? "/" : path;
}

// The request line is METHOD SP TARGET SP VERSION (RFC 9112, 3).
std::string answer_to(std::string_view request, const HttpHandler& handler) {
  const std::string_view line = request.substr(0, request.find("\r\n"));
  const std::size_t first = line.find(' ');
  const std::size_t second = line.find(' ', first == std::string_view::npos ? first : first + 1);
  if (second == std::string_view::npos || !line.substr(second + 1).starts_with("HTTP/1.")) {
    return refusal("400 Bad Request");
  }
  const std::string_view method = line.substr(0, first);
  const std::string_view target = line.substr(first + 1, second - first - 1);
  if (method != "GET" && method != "HEAD") {
    return refusal("405 Method Not Allowed", true, "Allow: GET, HEAD\r\n");
  }
  const bool with_body = method == "GET";
  try {
    const auto page = handler(path_of(target));
    return page ? response(*page, with_body) : refusal("404 Not Found", with_body);
  } catch (const std::exception&) {
    return refusal("500 Internal Server Error", with_body);
  }
}

}  // namespace

std::optional<std::string> http_answer(std::string_view so_far, const HttpHandler& handler) {
  constexpr std::string_view kEnd = "\r\n\r\n";
  const std::size_t end = so_far.find(kEnd);
  if (end != std::string_view::npos && end + kEnd.size() <= kMaxRequest) {
    return answer_to(so_far, handler);
  }
  if (so_far.size() > kMaxRequest) return refusal("431 Request Header Fields Too Large");
  return std::nullopt;
}

}  // namespace portpool
