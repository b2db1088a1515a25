// A TCP server in a child process.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

#include "portpool/endpoint.h"

namespace portpool::test {

enum class Answer {
  echo,         // sends back what comes, until the client closes
  close_first,  // closes each connection at once: TIME_WAIT is the server's
  silent,       // never accepts: connections stay ESTABLISHED in the listen queue
  testify,      // sends a Testimony, and then echoes
};

// Whom the server has accepted: whether a connection is the one that its client believes to have,
// both ends must tell.
struct Testimony {
  Endpoint client;
  Endpoint server;  // the address that the client connected to
};

// Listens on every address, IPv4 and IPv6, on each of `ports` (which must lie outside
// ip_local_port_range). Listening has begun when the constructor returns. One child holds up to
// about 19,900 accepted connections.
class EchoServer {
 public:
  explicit EchoServer(const std::vector<std::uint16_t>& ports, Answer answer = Answer::echo);
  ~EchoServer();
  EchoServer(const EchoServer&) = delete;
  EchoServer& operator=(const EchoServer&) = delete;

 private:
  pid_t pid_ = -1;
};

}  // namespace portpool::test
