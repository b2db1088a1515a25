// The process of one arm: it opens and closes connections in blocks, as the driver asks on stdin,
// and answers with the times on stdout. Whether the shim is in it is decided by its environment.
#pragma once

#include <cstdint>

namespace portpool::bench {

enum class Path : std::uint32_t {
  plain = 0,   // connect() and nothing else
  pinned = 1,  // IP_LOCAL_PORT_RANGE set to one free port just before, counted in the time
};

// On stdin: a BlockRequest, then `ports` times std::uint16_t (free ports, for Path::pinned).
struct BlockRequest {
  std::uint32_t connects;   // at most this many
  std::uint32_t budget_ms;  // and none is begun after this time
  std::uint32_t ports;
};

// On stdout: a BlockReply, then `samples` times Sample.
struct BlockReply {
  std::uint32_t samples;
  std::uint32_t errors;     // calls that failed; they have no sample
  std::int32_t last_errno;  // of the last that failed, else 0
};

struct Sample {
  std::uint32_t connect_ns;  // connect() alone, with the pin for Path::pinned
  std::uint32_t cycle_ns;    // socket(), connect(), close() together
};

// Serves blocks until stdin ends. Returns the exit status.
int run_worker(Path path, int cpu);

}  // namespace portpool::bench
