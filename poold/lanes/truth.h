// What the kernel's socket table says about each lane's ports, gathered from one or more dumps.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "kernel/sock_diag.h"
#include "kernel/sysctl.h"
#include "lanes/lane_table.h"

namespace portpool {

// Each port is in at most one set once the dump is done; in none: no socket of this 4-tuple exists.
struct LaneTruth {
  PortBits used = {};
  PortBits waiting = {};  // TIME_WAIT that cannot be taken over (yet), FIN_WAIT2 orphans
  PortBits reusable[kReuseMaps] = {};  // TIME_WAIT that a pin may take over; [0] is oldest

  // As the lane's maps stood before the dump began.
  PortBits released_before = {};  // in quarantine or a reuse map
  PortBits unmapped_before = {};  // in no map

  kernel::PortRange range;  // of the lane; the sets are kept for its words only
};

// Used over and over: keeps its memory.
class TruthCollector {
 public:
  // Forgets all lanes; from now on sockets are judged by `reuse`.
  void begin(const kernel::TimeWaitReuse& reuse);
  // Takes the lane into the collection; before the dump.
  void expect(const LaneRecord& record, LaneHints& lane);
  // Sorts a socket in, when its lane is expected.
  void add(const kernel::SocketRecord& socket);
  // Takes back what was said of a port of that lane; add() may say something else.
  void forget(const LaneKey& key, std::uint16_t port);
  const LaneTruth* find(const LaneKey& key) const;

 private:
  std::unique_ptr<LaneTruth> spare();

  kernel::TimeWaitReuse reuse_;
  std::unordered_map<LaneKey, std::unique_ptr<LaneTruth>, KeyHash> lanes_;
  std::vector<std::unique_ptr<LaneTruth>> spares_;
};

// Ports that no lane may claim: listened on, bound by somebody, or reserved by the administrator. A
// pin on one fails for every destination (__inet_hash_connect: the bucket belongs to a bind()).
struct BlockedPorts {
  PortBits bits = {};
};
// Changes nothing when the dump was not complete, or the reserved ports are not known; returns
// whether all went well. With the bind strategy reserved ports are not blocked: an explicit bind()
// may use them (ip-sysctl.rst).
bool collect_blocked(kernel::SockDiag& sock_diag, bool reserved_too, BlockedPorts& blocked);

}  // namespace portpool
