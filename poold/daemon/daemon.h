// The daemon: segment, socket and reconcile on one event loop, whose progress the heartbeat tells.
// Used by `poold serve` and, in the same process as the parent of the command, by `poold run`.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/descriptor.h"
#include "daemon/arm_switch.h"
#include "daemon/clients.h"
#include "daemon/comparison_server.h"
#include "daemon/config.h"
#include "daemon/doorbell.h"
#include "daemon/event_loop.h"
#include "daemon/handover_server.h"
#include "daemon/health.h"
#include "daemon/http_server.h"
#include "daemon/inheritance.h"
#include "daemon/pulse.h"
#include "daemon/reconciler.h"
#include "daemon/recorder.h"
#include "daemon/roll_call.h"
#include "lanes/segment.h"

namespace portpool {

// What became of configurations since the start, for the thread that serves metrics.
struct ConfigNews {
  std::atomic<std::uint64_t> taken = 0;  // reloads
  std::atomic<std::uint64_t> refused = 0;
  std::atomic<bool> last_taken = true;
  std::atomic<std::uint32_t> hash = 0;  // of the one in force
};

class Daemon {
 public:
  // Everything is ready when this returns; nothing moves until the loop runs. Goes on with what
  // `inheritance` has, where it can. Throws UserError or std::system_error; a predecessor then goes
  // on.
  Daemon(EventLoop& loop, const Config& config, Inheritance inheritance = {});
  ~Daemon();

  // Takes over what can change at run time (mode, metrics_listen, pools). The socket and max_lanes
  // stay as they are: returns false when the new configuration has others. Throws UserError when
  // metrics cannot be served where it says; everything is then as before.
  bool reload(const Config& config);
  // A new configuration could not be read; the one in force stays. For the metrics.
  void reload_failed();

  // From now on a poold that asks for it may go on in this one's place (docs/upgrade.md); `gone` is
  // called with its pid when it runs, and this object only has to be destroyed then.
  void allow_successors(std::function<void(pid_t)> gone) { gone_ = std::move(gone); }
  // A poold to come has the segment's files: programs go on with them, and what is left here leaves
  // them alone.
  void leave_segment() { leaves_segment_ = true; }
  const Segment& segment() const { return segment_; }
  // The segment is an earlier poold's.
  bool adopted() const { return adopted_; }

  const SegmentView& view() const { return segment_.view(); }
  const std::string& socket_path() const { return server_.path(); }

 private:
  // Removes nothing of a socket that is still a predecessor's.
  struct SocketGuard {
    HandoverServer& server;
    bool owner;
    ~SocketGuard() {
      if (!owner) server.give_up();
    }
  };

  void name_pools(const Config& config);
  void apply(const Config& config);
  Segment begin_segment();
  SocketFile begin_socket();
  void complete_succession();
  void hand_over(Descriptor connection);
  void go_on_after(pid_t successor);
  void receive(HandoverServer::Visitor& visitor);
  void note_refusal(const HandoverServer::Visitor& visitor);
  std::string trouble() const;
  // In the thread that serves it.
  std::optional<HttpPage> page(std::string_view path) const;
  std::unique_ptr<HttpServer> serve_metrics(const std::optional<Endpoint>& place);
  void move_metrics(const std::optional<Endpoint>& place);

  EventLoop& loop_;
  Config config_;
  Inheritance inheritance_;
  NetworkNamespace network_namespace_;
  Strategy strategy_;
  bool adopted_ = false;
  Segment segment_;
  Pulse pulse_;
  HandoverServer server_;
  SocketGuard socket_guard_;
  Reconciler reconciler_;
  Recorder recorder_;
  ArmSwitch arms_;
  ComparisonServer comparisons_;
  Clients clients_;
  RollCall roll_call_;
  Doorbell doorbell_;
  std::uint64_t refusals_ = 0;
  const std::uint64_t started_ns_ = clock_ns(CLOCK_REALTIME);
  bool leaves_segment_ = false;
  std::function<void(pid_t)> gone_;
  ConfigNews config_news_;
  Health health_;
  std::unique_ptr<HttpServer> metrics_;  // last: it reads the segment
};

}  // namespace portpool
