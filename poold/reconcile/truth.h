// What the kernel's socket table says about each lane's ports, gathered from one or more dumps.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>

#include "kernel/sock_diag.h"
#include "kernel/sysctl.h"
#include "reconcile/lane_table.h"

namespace portpool {

// Each port is in at most one set once the dump is done; in none: no socket of this 4-tuple exists.
struct LaneTruth {
  PortBits used = {};
  PortBits waiting = {};  // TIME_WAIT that cannot be taken over (yet), FIN_WAIT2 orphans
  PortBits reusable[kReuseMaps] = {};  // TIME_WAIT that a pin may take over; [0] is oldest

  // As the lane's maps stood before the dump began.
  PortBits released_before = {};  // in quarantine or a reuse map
  PortBits unmapped_before = {};  // in no map
};

class TruthCollector {
 public:
  explicit TruthCollector(const kernel::TimeWaitReuse& reuse) : reuse_(reuse) {}

  // Takes the lane into the collection; before the dump.
  void expect(const LaneRecord& record, Lane& lane);
  // Sorts a socket in, when its lane is expected.
  void add(const kernel::SocketRecord& socket);
  const LaneTruth* find(const LaneKey& key) const;

 private:
  bool may_take_over(const kernel::SocketRecord& socket) const;

  kernel::TimeWaitReuse reuse_;
  std::unordered_map<LaneKey, std::unique_ptr<LaneTruth>, KeyHash> lanes_;
};

// Ports that no lane may claim: listened on, bound by somebody, or reserved by the administrator. A
// pin on one fails for every destination (__inet_hash_connect: the bucket belongs to a bind()).
struct BlockedPorts {
  PortBits bits = {};
};
// Adds nothing when the dump was not complete; returns whether it was.
bool collect_blocked(kernel::SockDiag& sock_diag, BlockedPorts& blocked);

}  // namespace portpool
