// Makes lanes when clients ask for them, and keeps all lanes true to the kernel's socket table.
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include "kernel/sock_diag.h"
#include "kernel/sysctl.h"
#include "portpool/segment.h"
#include "reconcile/lane_table.h"
#include "reconcile/rules.h"
#include "reconcile/truth.h"

namespace portpool {

class Reconciler {
 public:
  // In the network namespace of the calling thread. Throws std::system_error where sock_diag is
  // missing.
  Reconciler(const SegmentView& view, std::vector<PoolRule> rules);

  void set_rules(std::vector<PoolRule> rules) { rules_ = std::move(rules); }

  // Answers the requests that clients have placed: reads the kernel's table for the lanes that are
  // missing, fills them and publishes them. A request that cannot be served now is dropped; the
  // client's next connect() places it again.
  void serve_requests();

  // One pass over all lanes. Returns when the next one is due: soon while lanes change, later the
  // more a pass costs (at most kMaxShare of one core).
  std::chrono::nanoseconds pass();

 private:
  struct Pending {
    LaneKey question;
    std::vector<LaneRecord*> lanes;
    std::vector<LaneRecord*> fresh;
  };

  Pending plan(const LaneKey& question);
  std::vector<Address> sources_for(const LaneKey& question) const;
  kernel::PortRange range_for(const PoolRule& rule) const;
  bool dump_for(const std::vector<LaneRecord*>& records, TruthCollector& truth);
  void read_settings();

  SegmentView view_;
  std::vector<PoolRule> rules_;
  LaneTable lanes_;
  kernel::SockDiag sock_diag_;
  kernel::TimeWaitReuse reuse_;
  kernel::PortRange local_range_;
  BlockedPorts blocked_;
  std::chrono::steady_clock::time_point settings_read_;
  std::chrono::steady_clock::time_point rejected_swept_;
  unsigned quiet_passes_ = 0;
};

}  // namespace portpool
