// A small HTTP server in a thread of its own, for pages that are asked for now and then. It answers
// GET and HEAD, one request per connection, and never keeps its owner waiting: the destructor
// returns as soon as the page being made, if any, is ready. Nobody who comes and says nothing keeps
// others from their page: with all places taken, the oldest that is not in the middle of its answer
// gives way to the newest.
#pragma once

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "base/descriptor.h"
#include "daemon/http_answer.h"
#include "portpool/endpoint.h"

namespace portpool {

class HttpServer {
 public:
  // Listens when this returns; `handler` is called in the server's thread. Throws UserError, with
  // the reason, when that is not possible.
  HttpServer(const Endpoint& listen, HttpHandler handler);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

 private:
  using Clock = std::chrono::steady_clock;
  enum class Stage { asking, answered, leaving };
  struct Visitor {
    Descriptor socket;
    Clock::time_point deadline;
    Stage stage = Stage::asking;
    std::string request;
    std::string answer;
    std::size_t sent = 0;
    std::size_t ignored = 0;  // bytes that came after the answer was made
  };

  void run();
  void accept_visitors();
  void make_room();
  // Does what the visitor's stage allows without waiting. False: done with it.
  bool serve(Visitor& visitor) const;
  bool read_request(Visitor& visitor) const;
  bool send_answer(Visitor& visitor) const;
  bool see_off(Visitor& visitor) const;

  HttpHandler handler_;
  Descriptor listener_;
  Descriptor stop_;                // an eventfd
  std::vector<Visitor> visitors_;  // the oldest first
  Clock::time_point accept_from_;  // not before: there was no descriptor to be had
  std::thread thread_;
};

}  // namespace portpool
