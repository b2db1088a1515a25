#include "daemon/daemon.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "base/error.h"
#include "daemon/log.h"
#include "kernel/features.h"
#include "kernel/netns.h"
#include "observe/metrics.h"

namespace portpool {
namespace {

// `poold status` and its like are handed the segment, too. Unknown (another user's): no.
bool is_own_command(pid_t pid) {
  std::error_code error;
  return std::filesystem::equivalent(fmt::format("/proc/{}/exe", pid), "/proc/self/exe", error);
}

Strategy choose_strategy(const Config& config) {
  const kernel::KernelFeatures features = kernel::probe_features();
  if (!features.untried.empty()) throw UserError(features.untried);
  const bool can_pin = features.local_port_range;
  switch (config.strategy) {
    case StrategyChoice::automatic:
      return can_pin ? Strategy::port_range : Strategy::bind;
    case StrategyChoice::bind:
      return Strategy::bind;
    case StrategyChoice::port_range:
      break;
  }
  if (!can_pin) {
    throw UserError(
        "strategy = \"port-range\" needs IP_LOCAL_PORT_RANGE (Linux 6.3), which this kernel lacks; "
        "use \"auto\" or \"bind\"");
  }
  return Strategy::port_range;
}

// The bind strategy is at its best on ports that the kernel's own choice leaves alone.
void advise_reserving(const Config& config, Strategy strategy) {
  if (strategy != Strategy::bind) return;
  const auto answer = kernel::reserved_ports();
  if (!answer.is_known()) return;
  const auto reserved = answer.value().value_or(std::vector<kernel::PortRange>{});
  const auto local = kernel::local_port_range().value();
  for (const PoolRule& rule : config.pools) {
    const auto range = rule.port_range ? rule.port_range : local;
    if (!range || !local || !is_shared_with_others(*range, *local, reserved)) continue;
    spdlog::warn(
        "pool {}: with the bind strategy other programs cannot connect from ports {}-{} that it "
        "has "
        "bound; so it binds half of them at most, and leaves what needs more to the kernel's path. "
        "For all of them: sysctl -w net.ipv4.ip_local_reserved_ports={}-{}, or a port_range "
        "outside "
        "ip_local_port_range",
        rule.name, range->low, range->high, range->low, range->high);
  }
}

}  // namespace

void Daemon::name_pools(const Config& config) {
  std::vector<std::string> names;
  for (const PoolRule& rule : config.pools) names.push_back(rule.name);
  segment_.set_pool_names(names);
  segment_.set_port_rules(port_rules(config.pools));
}

void Daemon::apply(const Config& config) {
  roll_call_.expect(config.expected);
  arms_.configure(config.mode, config.ab_block, config.ab_seed);
  name_pools(config);
  config_news_.hash = config.hash;
}

Daemon::Daemon(EventLoop& loop, const Config& config, Inheritance inheritance)
    : loop_(loop),
      config_(config),
      inheritance_(std::move(inheritance)),
      network_namespace_(kernel::current_network_namespace()),
      strategy_(choose_strategy(config)),
      segment_(begin_segment()),
      pulse_([this] { segment_.beat(); }),
      server_(loop, begin_socket(),
              {group_named(config.socket_group), config.admits_descendants, network_namespace_},
              segment_, [this](HandoverServer::Visitor& visitor) { receive(visitor); }),
      socket_guard_{server_, !inheritance_.predecessor},
      reconciler_(loop, segment_.writer(), config.pools, strategy_),
      recorder_(segment_.writer(), reconciler_.lanes()),
      arms_(loop, segment_, strategy_),
      comparisons_(loop, arms_, [this](Descriptor asking) { hand_over(std::move(asking)); }),
      clients_(loop, segment_.header().clients,
               [this] { reconciler_.process_ended(clients_.nobody_left()); }),
      roll_call_(loop, segment_,
                 [this] {
                   return inheritance_.predecessor ? std::nullopt : std::optional(clients_.alive());
                 }),
      doorbell_(segment_.view().hints().doorbell) {
  apply(config);
  if (adopted_) reconciler_.adopt();
  const int progress = loop_.add_timer([this] { pulse_.progress(); });
  loop_.repeat_timer(progress, std::chrono::milliseconds(kHeartbeatMs));
  const int record = loop_.add_timer([this] { recorder_.record(); });
  loop_.repeat_timer(record, Recorder::kPause);
  const int left_out = loop_.add_timer([] { say_what_was_left_out(); });
  loop_.repeat_timer(left_out, std::chrono::milliseconds(250));
  loop_.watch(doorbell_.fd(), [this] {
    doorbell_.acknowledge();
    reconciler_.bell_rung();
  });
  const int health = loop_.add_timer([this] { health_.note(trouble()); });
  loop_.repeat_timer(health, std::chrono::milliseconds(100));
  advise_reserving(config, strategy_);
  metrics_ = serve_metrics(config.metrics_listen);
  complete_succession();
}

Daemon::~Daemon() {
  if (!leaves_segment_) segment_.mark_stopped();
  if (inheritance_.predecessor) loop_.unwatch(inheritance_.predecessor->fd());
  loop_.unwatch(doorbell_.fd());
}

std::string Daemon::trouble() const {
  const std::string unreachable = server_.trouble();
  return unreachable.empty() ? reconciler_.trouble() : unreachable;
}

std::optional<HttpPage> Daemon::page(std::string_view path) const {
  const auto heartbeat_age_ms = [this] { return daemon_times(view().header()).heartbeat_age_ms; };
  if (path == "/metrics") {
    const DaemonFigures figures{started_ns_, config_news_.taken, config_news_.refused,
                                config_news_.last_taken, config_news_.hash};
    return HttpPage{"text/plain; version=0.0.4; charset=utf-8",
                    metrics_text(read_report(view()), figures)};
  }
  if (path == "/healthz") return health_.healthz(heartbeat_age_ms());
  if (path == "/readyz") return health_.readyz(heartbeat_age_ms());
  if (path != "/") return std::nullopt;
  return HttpPage{"text/html; charset=utf-8",
                  "<!DOCTYPE html><title>poold</title>poold: <a href=\"/metrics\">/metrics</a> "
                  "<a href=\"/healthz\">/healthz</a> <a href=\"/readyz\">/readyz</a>\n"};
}

std::unique_ptr<HttpServer> Daemon::serve_metrics(const std::optional<Endpoint>& place) {
  if (!place) return nullptr;
  return std::make_unique<HttpServer>(*place, [this](std::string_view path) { return page(path); });
}

void Daemon::move_metrics(const std::optional<Endpoint>& place) {
  if (place == config_.metrics_listen) return;
  // Two addresses with one port may exclude each other: the old one has to go first.
  const bool same_port = place && metrics_ && place->port == config_.metrics_listen->port;
  if (same_port) metrics_.reset();
  try {
    metrics_ = serve_metrics(place);
  } catch (const UserError&) {
    if (same_port) metrics_ = serve_metrics(config_.metrics_listen);
    throw;
  }
  config_.metrics_listen = place;
}

bool Daemon::reload(const Config& config) {
  const bool same_place =
      config.socket == config_.socket && config.socket_group == config_.socket_group &&
      config.max_lanes == config_.max_lanes && config.strategy == config_.strategy;
  move_metrics(config.metrics_listen);
  apply(config);
  reconciler_.set_rules(config.pools);
  config_.mode = config.mode;
  config_.ab_block = config.ab_block;
  config_.pools = config.pools;
  config_.expected = config.expected;
  ++config_news_.taken;
  config_news_.last_taken = true;
  return same_place;
}

void Daemon::reload_failed() {
  ++config_news_.refused;
  config_news_.last_taken = false;
}

void Daemon::receive(HandoverServer::Visitor& visitor) {
  if (visitor.answer != Handover::granted) return note_refusal(visitor);
  if (visitor.only_listens || !is_own_command(visitor.pid)) {
    segment_.count_attach(AttachResult::attached);
    clients_.attached(visitor.pid);
    roll_call_.attached(visitor.pid);
  }
  if (visitor.may_command) comparisons_.keep(std::move(visitor.connection));
}

// Whoever is refused can come again at once.
void Daemon::note_refusal(const HandoverServer::Visitor& visitor) {
  const AttachResult result = visitor.answer == Handover::refused_netns
                                  ? AttachResult::refused_netns
                                  : AttachResult::refused_user;
  segment_.count_attach(result);
  segment_.header().attaches_refused.fetch_add(1, std::memory_order_relaxed);
  warn_once_a_minute(
      "refused",
      fmt::format("refused pid {} (uid {}): {} ({} refused so far)", visitor.pid, visitor.uid,
                  visitor.answer == Handover::refused_netns ? "it is in another network namespace"
                                                            : "it is not in socket_group",
                  ++refusals_));
}

}  // namespace portpool
