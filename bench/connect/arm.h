// One arm of the comparison, seen from the driver: a worker process and what it measured.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "pipe_io.h"
#include "worker.h"

namespace portpool::bench {

struct ArmSpec {
  std::string name;
  Path path = Path::plain;
  std::vector<std::pair<std::string, std::string>> environment = {};  // added to the driver's
};

struct BlockResult {
  std::vector<Sample> samples;
  std::uint32_t errors = 0;
  int last_errno = 0;
};

class Arm {
 public:
  // Starts the worker on `cpu`. Throws std::system_error.
  Arm(ArmSpec spec, int cpu);
  ~Arm();
  Arm(const Arm&) = delete;
  Arm& operator=(const Arm&) = delete;

  const std::string& name() const { return spec_.name; }

  // Runs one block and waits for it. Throws std::runtime_error when the worker is gone.
  BlockResult run(std::uint32_t connects, std::uint32_t budget_ms,
                  const std::vector<std::uint16_t>& free_ports);

 private:
  [[noreturn]] void become_worker(int cpu);

  ArmSpec spec_;
  Pipe to_worker_;
  Pipe from_worker_;
  pid_t pid_ = -1;
};

}  // namespace portpool::bench
