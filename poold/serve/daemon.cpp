#include "serve/daemon.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>

#include "kernel/netns.h"

namespace portpool {
namespace {

SegmentSize segment_size(const Config& config) {
  const long cpus = sysconf(_SC_NPROCESSORS_CONF);
  return {config.max_lanes, static_cast<std::uint32_t>(std::clamp(cpus, 1L, 128L))};
}

Segment make_segment(const Config& config, const NetworkNamespace& network_namespace) {
  Segment segment(segment_size(config), network_namespace);
  segment.publish();
  return segment;
}

void apply(Segment& segment, const Config& config) {
  segment.set_control({config.mode, Route::pool, Strategy::port_range});
  std::vector<std::string> names;
  for (const PoolRule& rule : config.pools) names.push_back(rule.name);
  segment.set_pool_names(names);
}

}  // namespace

Daemon::Daemon(EventLoop& loop, const Config& config)
    : loop_(loop),
      config_(config),
      network_namespace_(kernel::current_network_namespace()),
      segment_(make_segment(config, network_namespace_)),
      server_(config.socket, {config.socket_group, network_namespace_}),
      reconciler_(segment_.view(), config.pools),
      clients_(loop, segment_.header().clients),
      doorbell_(segment_.header().doorbell) {
  apply(segment_, config);
  const int heartbeat = loop_.add_timer([this] { segment_.beat(); });
  loop_.repeat_timer(heartbeat, std::chrono::milliseconds(kHeartbeatMs));
  reconcile_timer_ =
      loop_.add_timer([this] { loop_.set_timer(reconcile_timer_, reconciler_.pass()); });
  loop_.set_timer(reconcile_timer_, std::chrono::milliseconds(1));
  loop_.watch(doorbell_.fd(), [this] {
    doorbell_.acknowledge();
    reconciler_.serve_requests();
  });
  loop_.watch(server_.fd(), [this] { accept_clients(); });
}

Daemon::~Daemon() {
  segment_.mark_stopped();
  loop_.unwatch(server_.fd());
  loop_.unwatch(doorbell_.fd());
}

bool Daemon::reload(const Config& config) {
  const bool same_place = config.socket == config_.socket &&
                          config.socket_group == config_.socket_group &&
                          config.max_lanes == config_.max_lanes;
  apply(segment_, config);
  reconciler_.set_rules(config.pools);
  config_.mode = config.mode;
  config_.pools = config.pools;
  return same_place;
}

void Daemon::accept_clients() {
  server_.serve(segment_.fd(), segment_.size(), [this](const HandoverServer::Visitor& visitor) {
    if (visitor.answer == Handover::granted) {
      clients_.attached(visitor.pid);
      return;
    }
    segment_.header().attaches_refused.fetch_add(1, std::memory_order_relaxed);
    spdlog::warn("refused pid {} (uid {}): {}", visitor.pid, visitor.uid,
                 visitor.answer == Handover::refused_netns ? "it is in another network namespace"
                                                           : "it is not in socket_group");
  });
}

}  // namespace portpool
