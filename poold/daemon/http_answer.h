// What an HTTP request is answered with. A function of the bytes that came, kept apart from the
// socket so that any bytes can be tried.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace portpool {

struct HttpPage {
  std::string type;  // Content-Type
  std::string body;
  std::string_view status = "200 OK";
};

// Called with a path such as "/metrics"; nullopt: there is no such page.
using HttpHandler = std::function<std::optional<HttpPage>(std::string_view path)>;

// `so_far`: all that the visitor has sent. nullopt: its request has not ended yet.
std::optional<std::string> http_answer(std::string_view so_far, const HttpHandler& handler);

}  // namespace portpool
