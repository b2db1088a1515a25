// How a lane stands, as the structure tells programs: whether few ports are left (`low`), none
// (`full`), and how the bind strategy shall spare ports (`crowding`); and which ports are bound.
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

  // After all add() of a pass.
  void note_bound(BoundPorts& bound);

  // Writes the marks of one lane. exposed: Crowding::exposed. `full` and Crowding::crowded come
  // from the kernel's table alone, never from the hints: with fail-fast they decide about an error.
  // Without `truth` (null) a lane may stop being full, when its hints hold a port, and does not
  // become so. How many are free goes to the record, too. True when the lane has ports to spare.
  bool note(LaneInfo& info, LaneHints& hints, LaneRecord& record, const LaneTruth* truth,
            const BlockedPorts& blocked, bool exposed);

 private:
  PortBits taken_ = {};   // by a socket of some lane
  PortBits absent_ = {};  // bound as far as clients say, and in no socket at the last pass
  std::uint32_t findings_ = 0;
};

}  // namespace portpool
