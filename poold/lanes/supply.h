// How a lane stands, as the structure tells programs: whether few ports are left (`low`), none
// (`full`), and whether hardly a port is without a user for whatever destination (`crowded`).
#pragma once

#include <cstdint>

#include "lanes/truth.h"
#include "portpool/structure.h"

namespace portpool {

class Supply {
 public:
  // Before a pass: what add() is told from now on. `all`: the pass looks at every lane; else what
  // was known of the others stays.
  void begin(bool all);
  void add(const PortBits& taken);

  // Writes the marks of one lane. `full` and `crowded` come from the kernel's table alone, never
  // from the hints: with fail-fast they decide about an error. Without `truth` (null) a lane may
  // stop being full, when its hints hold a port, and does not become so. True when the lane has
  // ports to spare.
  bool note(LaneInfo& info, LaneHints& hints, const LaneRecord& record, const LaneTruth* truth,
            const BlockedPorts& blocked);

 private:
  PortBits taken_ = {};  // by a socket of some lane
  std::uint32_t findings_ = 0;
};

}  // namespace portpool
