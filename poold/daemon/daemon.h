// The daemon: segment, socket and reconcile on one event loop, whose progress the heartbeat tells.
// Used by `poold serve` and, in the same process as the parent of the command, by `poold run`.
#pragma once

#include <atomic>
#include <memory>
#include <optional>

#include "base/descriptor.h"
#include "daemon/arm_switch.h"
#include "daemon/clients.h"
#include "daemon/comparison_server.h"
#include "daemon/config.h"
#include "daemon/doorbell.h"
#include "daemon/event_loop.h"
#include "daemon/handover_server.h"
#include "daemon/http_server.h"
#include "daemon/pulse.h"
#include "daemon/reconciler.h"
#include "lanes/segment.h"

namespace portpool {

class Daemon {
 public:
  // Everything is ready when this returns; nothing moves until the loop runs. Throws UserError or
  // std::system_error. `listener`: see SocketFile::activated();
  // none: a socket is made.
  Daemon(EventLoop& loop, const Config& config, Descriptor listener = {});
  ~Daemon();

  // Takes over what can change at run time (mode, metrics_listen, pools). The socket and max_lanes
  // stay as they are: returns false when the new configuration has others. Throws UserError when
  // metrics cannot be served where it says; everything is then as before.
  bool reload(const Config& config);
  // A new configuration could not be read; the one in force stays. For the metrics.
  void reload_failed() { reload_successful_ = false; }

  const SegmentView& view() const { return segment_.view(); }
  const std::string& socket_path() const { return server_.path(); }

 private:
  void receive(HandoverServer::Visitor& visitor);
  void note_refusal(const HandoverServer::Visitor& visitor);
  std::unique_ptr<HttpServer> serve_metrics(const std::optional<Endpoint>& place);
  void move_metrics(const std::optional<Endpoint>& place);

  EventLoop& loop_;
  Config config_;
  NetworkNamespace network_namespace_;
  Segment segment_;
  Pulse pulse_;
  HandoverServer server_;
  Strategy strategy_;
  Reconciler reconciler_;
  ArmSwitch arms_;
  ComparisonServer comparisons_;
  Clients clients_;
  Doorbell doorbell_;
  std::uint64_t refusals_ = 0;
  std::atomic<bool> reload_successful_ = true;
  std::unique_ptr<HttpServer> metrics_;  // last: it reads the segment
};

}  // namespace portpool
