// The processes that open connections: each does one job at a time, as the driver asks on stdin,
// and answers on stdout. Whether the shim is in it is decided by its environment.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "pipe_io.h"

namespace portpool::bench {

enum class Job : std::uint32_t {
  touch,         // one connection, reset: makes the daemon keep a lane
  touch_many,    // one to each of `count` addresses where nobody listens: refused, but asked for
  peer_closes,   // short connections that the other side closes first, for ms
  resets,        // short connections that end with a reset of ours, for ms
  hold,          // opens `count` connections, and keeps them
  refill,        // `count` times: closes one of its connections; how long until the pool gives one
  retry_failed,  // tries to connect for ms, with pauses of pause_us
  tick,          // sleeps 1 ms again and again, for ms: how much too late it wakes up
};

struct Order {
  Job job = Job::touch;
  std::uint32_t count = 0;
  std::uint32_t ms = 0;
  std::uint32_t pause_us = 0;
};

// Followed by `samples` times std::uint64_t, nanoseconds.
struct Outcome {
  std::uint64_t done = 0;       // connections made (refill: samples taken; tick: wake-ups)
  std::uint64_t by_pool = 0;    // those of them whose socket has a pinned port
  std::uint64_t by_kernel = 0;  // refill only: the kernel's path found the port before the pool
  std::uint64_t errors = 0;
  std::uint64_t cpu_us = 0;
  std::uint64_t wall_us = 0;
  std::int32_t last_errno = 0;
  std::uint32_t samples = 0;
};

// Serves orders until stdin ends. Returns the exit status.
int run_worker();

class Worker {
 public:
  // With LD_PRELOAD=library and PORTPOOL_SOCKET=socket, unless library is empty. Throws
  // std::system_error.
  explicit Worker(const std::string& library = "", const std::string& socket = "");
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Throw std::runtime_error when the worker is gone.
  void start(const Order& order);
  Outcome finish(std::vector<std::uint64_t>* samples = nullptr);
  Outcome run(const Order& order, std::vector<std::uint64_t>* samples = nullptr) {
    start(order);
    return finish(samples);
  }

 private:
  [[noreturn]] void become_worker(const std::string& library, const std::string& socket);

  Pipe to_worker_;
  Pipe from_worker_;
  pid_t pid_ = -1;
};

}  // namespace portpool::bench
