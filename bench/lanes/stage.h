// What every measurement starts from: a listener, a daemon, and a lane toward the listener.
#pragma once

#include <memory>
#include <vector>

#include "base/descriptor.h"
#include "daemon.h"
#include "loopback.h"
#include "measurements.h"
#include "worker.h"

namespace portpool::bench {

using Workers = std::vector<std::unique_ptr<Worker>>;

class Stage {
 public:
  // `config` is the daemon's. Throws std::runtime_error.
  explicit Stage(const LaneOptions& options, const std::string& config = "");
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

  int listener() const { return listener_.get(); }
  const Daemon& daemon() const { return daemon_; }
  PortRange range() const { return range_; }

  // Waits until the daemon keeps a lane for the listener's address. Needs no server.
  void make_lane();
  Workers workers(std::size_t count, bool shimmed) const;
  // Waits until the fullest lane says so.
  void wait_for_free(std::size_t free) const;

 private:
  const LaneOptions& options_;
  PortRange range_ = local_port_range();
  Descriptor listener_{open_listener()};
  Daemon daemon_;
};

// The order, to all of them at once; the outcomes added up, wall_us the longest.
Outcome run_all(const Workers& workers, const Order& order);

}  // namespace portpool::bench
