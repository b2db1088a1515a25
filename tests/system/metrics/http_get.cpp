#include "system/metrics/http_get.h"

#include <sys/socket.h>

#include <cctype>
#include <cstdio>

#include "base/descriptor.h"
#include "support/eventually.h"
#include "support/sockets.h"

namespace portpool::test {

HttpAnswer http_exchange(const std::string& address, const std::string& request) {
  HttpAnswer answer;
  const Descriptor socket(connected_socket(SocketAddress(address)));
  if (!socket) return answer;
  std::string text;
  if (send(socket.get(), request.data(), request.size(), MSG_NOSIGNAL) ==
      static_cast<ssize_t>(request.size())) {
    char chunk[4096];
    ssize_t got;
    while ((got = recv(socket.get(), chunk, sizeof chunk, 0)) > 0) {
      text.append(chunk, static_cast<std::size_t>(got));
    }
    answer.reset = got < 0;
  }
  const std::size_t end = text.find("\r\n\r\n");
  if (end == std::string::npos || std::sscanf(text.c_str(), "HTTP/1.%*d %d", &answer.status) != 1) {
    return answer;
  }
  answer.head = text.substr(0, end);
  answer.body = text.substr(end + 4);
  return answer;
}

HttpAnswer http_get(const std::string& address, const std::string& target) {
  return http_exchange(address, "GET " + target + " HTTP/1.0\r\nHost: " + address + "\r\n\r\n");
}

bool metrics_answer_at(const std::string& address) {
  return eventually([&] { return http_get(address, "/metrics").status == 200; });
}

std::string url_encoded(const std::string& text) {
  std::string result;
  for (const unsigned char c : text) {
    char code[4];
    std::snprintf(code, sizeof code, "%%%02X", c);
    result += std::isalnum(c) != 0 ? std::string(1, static_cast<char>(c)) : std::string(code);
  }
  return result;
}

}  // namespace portpool::test
