// The far side of the connections, in child processes.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace portpool::bench {

enum class Serving {
  close_first,  // accepts and closes
  wait,         // closes when the client has
  greet,        // sends one byte, then waits
  keep,         // accepts, up to the limit of open files, and never closes
};

class Server {
 public:
  // `processes` of them accept from `listener`.
  Server(int listener, Serving serving, int processes = 1);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

 private:
  std::vector<pid_t> pids_;
};

// Connections from the ports first, first+1, ... each pinned, so that filling a range takes no
// time. Both ends are held by child processes.
class Occupied {
 public:
  // Throws std::runtime_error when a port cannot be had.
  Occupied(int listener, std::uint16_t first, std::size_t count);
  ~Occupied();
  Occupied(const Occupied&) = delete;
  Occupied& operator=(const Occupied&) = delete;

 private:
  void add(int listener, std::uint16_t first, std::size_t count);

  std::vector<pid_t> pids_;
};

}  // namespace portpool::bench
