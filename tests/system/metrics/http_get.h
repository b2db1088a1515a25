// One HTTP request, as plain as it goes.
#pragma once

#include <string>

namespace portpool::test {

struct HttpAnswer {
  int status = 0;      // 0: no connection, or what came is not HTTP
  bool reset = false;  // the connection did not end in good order
  std::string head;
  std::string body;
};

// Sends `request` as it is to "127.0.0.1:9481", and reads until the other side closes.
HttpAnswer http_exchange(const std::string& address, const std::string& request);

// GET, by HTTP/1.0: the answer is not cut into chunks.
HttpAnswer http_get(const std::string& address, const std::string& target);

// Waits until GET /metrics is answered well: poold's own socket is there a moment before. False
// after a minute.
bool metrics_answer_at(const std::string& address);

// For a value in a query string.
std::string url_encoded(const std::string& text);

}  // namespace portpool::test
