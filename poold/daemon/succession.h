// How one `poold serve` follows another: by --take-over, by SIGUSR2, by the service manager's
// store.
#pragma once

#include "daemon/config.h"
#include "daemon/daemon.h"
#include "daemon/event_loop.h"
#include "daemon/inheritance.h"
#include "daemon/segment_store.h"
#include "daemon/service_manager.h"
#include "daemon/successor_start.h"

namespace portpool {

class Succession {
 public:
  // Both must outlive the object, and be new: what the store has handed over is taken here.
  Succession(EventLoop& loop, ServiceManager& manager)
      : loop_(loop), manager_(manager), store_(manager), successor_(loop) {}

  // For the daemon that is about to begin: of the poold that runs, which `take_over` asks, or of
  // one that has left its segment in the store. Throws UserError.
  Inheritance find_inheritance(const Config& config, bool take_over);
  // It serves: successors may come for what it has. The loop ends when one has taken over.
  void begun(Daemon& daemon);

  // SIGUSR2, of a daemon that has begun.
  void start_successor(const Daemon& daemon);
  // SIGTERM: the segment lives on, if it is kept for the next one.
  void ending(Daemon& daemon) const;

 private:
  EventLoop& loop_;
  ServiceManager& manager_;
  SegmentStore store_;
  SuccessorStart successor_;
};

}  // namespace portpool
