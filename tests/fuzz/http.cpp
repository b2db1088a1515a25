// What visitors of metrics_listen send, in parts as they come.
#include "daemon/http_answer.h"

#include "fuzz/input.h"

using namespace portpool;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input(data, size);
  const auto handler = [](std::string_view path) -> std::optional<HttpPage> {
    fuzz::require(path.find_first_of("? ") == std::string_view::npos);
    if (path == "/metrics") return HttpPage{"text/plain", "portpool_up 1\n"};
    return std::nullopt;
  };
  std::string so_far;
  while (!input.empty()) {
    so_far += input.text(1U + input.number<std::uint8_t>() * 16U);
    const auto answer = http_answer(so_far, handler);
    if (!answer) continue;
    // One status line, and nothing of the request in the answer's head.
    fuzz::require(answer->starts_with("HTTP/1.1 "));
    const std::string_view head = std::string_view(*answer).substr(0, answer->find("\r\n\r\n"));
    fuzz::require(head.find("Connection: close") != std::string_view::npos);
    fuzz::require(answer->size() < 1024);
    break;
  }
  return 0;
}
