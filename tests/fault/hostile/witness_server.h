// A TCP server that says whom it has accepted, and then echoes: whether a connection is the one
// that its client believes to have, both ends must tell.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

#include "portpool/endpoint.h"

namespace portpool::test {

// The first bytes on each connection.
struct Testimony {
  Endpoint client;
  Endpoint server;  // the address that the client connected to
};

// A child process that listens on every address, IPv4 and IPv6, on each of `ports`.
class WitnessServer {
 public:
  explicit WitnessServer(const std::vector<std::uint16_t>& ports);
  ~WitnessServer();
  WitnessServer(const WitnessServer&) = delete;
  WitnessServer& operator=(const WitnessServer&) = delete;

 private:
  pid_t pid_ = -1;
};

}  // namespace portpool::test
