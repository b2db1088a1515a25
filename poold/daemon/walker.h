// The walk over the kernel's socket table, on a thread beside the event loop: it takes milliseconds
// on any host, and seconds where there are millions of sockets.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "base/beside.h"
#include "kernel/sock_diag.h"
#include "kernel/sysctl.h"
#include "lanes/truth.h"
#include "portpool/segment.h"

namespace portpool {

struct WalkOrder {
  std::vector<ExpectedLane> lanes;  // what is asked about them; none: nothing
  kernel::TimeWaitReuse reuse;
  int tries = 1;  // so often, where the table changes under the walk
  bool blocked_too = false;
  bool reserved_too = false;  // among the blocked ones
};

struct Walk {
  TruthCollector truth;
  bool complete = false;  // as of the last try; true without lanes
  bool blocked_read = false;
  BlockedPorts blocked;             // what start() was given where they could not be read
  std::string error;                // not empty: it broke off
  std::chrono::nanoseconds cpu{0};  // of the lanes' part
  std::chrono::nanoseconds blocked_cpu{0};
};

class Walker {
 public:
  // In the network namespace of the calling thread. Throws std::system_error where sock_diag is
  // missing.
  explicit Walker(const SegmentView& view) : view_(view) {}

  bool busy() const { return beside_.busy(); }
  // How the lanes' maps stand is looked at when the walk begins, before the kernel is asked. Not
  // while busy.
  void start(WalkOrder order, const BlockedPorts& blocked);
  // Can be read when the walk is over: then finish() has it. Null: it is not over.
  int fd() const { return beside_.fd(); }
  std::unique_ptr<Walk> finish();

 private:
  void run();
  void read_lanes();
  bool dump();

  SegmentView view_;
  kernel::SockDiag sock_diag_;
  WalkOrder order_;
  std::unique_ptr<Walk> walk_;
  Beside beside_;  // last: its thread uses the others
};

}  // namespace portpool
