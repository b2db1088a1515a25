// The daemon's beginning after another one, and its end before another one. docs/upgrade.md
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/error.h"
#include "daemon/daemon.h"
#include "daemon/successor.h"

namespace portpool {
namespace {

SegmentSize segment_size(const Config& config) {
  const long cpus = sysconf(_SC_NPROCESSORS_CONF);
  return {config.max_lanes, static_cast<std::uint32_t>(std::clamp(cpus, 1L, 128L))};
}

Strategy strategy_of(const Segment& segment) {
  const std::uint32_t word = segment.view().header().control.load(std::memory_order_relaxed);
  return Control::unpack(word).strategy;
}

// Null with the reason, where the files cannot be gone on with.
std::optional<Segment> adopt(Inheritance& inheritance, const SegmentSize& size,
                             const NetworkNamespace& network_namespace, Strategy strategy,
                             std::string& why) {
  if (inheritance.predecessor && !inheritance.predecessor->same_layout()) {
    why = fmt::format("they have layout {}, and this poold {}.{}",
                      inheritance.predecessor->layout(), kLayoutMajor, kLayoutMinor);
    return std::nullopt;
  }
  auto segment = Segment::adopt(std::move(inheritance.files), size, network_namespace, why);
  // Programs keep the strategy that they met when they attached.
  if (segment && strategy_of(*segment) != strategy) {
    why = "strategy is another";
    segment.reset();
  }
  return segment;
}

}  // namespace

Segment Daemon::begin_segment() {
  const SegmentSize size = segment_size(config_);
  const bool inherits = inheritance_.files.structure && inheritance_.files.hints;
  std::string why;
  std::optional<Segment> segment;
  if (inherits) segment = adopt(inheritance_, size, network_namespace_, strategy_, why);
  inheritance_.files = {};
  if (inheritance_.predecessor) inheritance_.predecessor->become_owner();
  adopted_ = segment.has_value();
  if (segment) {
    segment->sign();
    return std::move(*segment);
  }
  if (inherits) {
    spdlog::warn(
        "a new segment, programs attach again: the earlier one's files cannot be used, since {}",
        why);
  }
  Segment fresh(size, network_namespace_);
  fresh.publish();
  return fresh;
}

SocketFile Daemon::begin_socket() {
  const gid_t group = group_named(config_.socket_group);
  if (inheritance_.listener && !inheritance_.predecessor) {
    return SocketFile::activated(std::move(inheritance_.listener));
  }
  if (!inheritance_.predecessor) {
    return SocketFile::make(config_.socket, group, config_.admits_descendants);
  }
  SocketFile::Handles handles = inheritance_.predecessor->take_socket();
  if (!handles.lock) return SocketFile::activated(std::move(handles.listener));
  return SocketFile::take_over(config_.socket, group, std::move(handles));
}

void Daemon::complete_succession() {
  // The predecessor may not have followed all of them either.
  if (adopted_) clients_.lose_sight();
  if (!inheritance_.predecessor) {
    // Of those who attached to an earlier poold nobody tells.
    if (adopted_) segment_.header().clients.store(0, std::memory_order_relaxed);
    return;
  }
  Predecessor& predecessor = *inheritance_.predecessor;
  socket_guard_.owner = true;
  predecessor.say_running(adopted_);
  spdlog::info("took over from pid {}{}", predecessor.pid(),
               adopted_ ? ": lanes, counters and attached programs go on" : "");
  loop_.watch(predecessor.fd(), [this] {
    std::vector<pid_t> clients;
    if (inheritance_.predecessor->hear_clients(clients)) return;
    if (adopted_) {
      for (const pid_t pid : clients) clients_.attached(pid);
    }
    loop_.unwatch(inheritance_.predecessor->fd());
    inheritance_.predecessor.reset();
  });
}

void Daemon::hand_over(Descriptor connection) {
  Successor successor(std::move(connection));
  if (!successor.hear_question()) return;
  if (!gone_) return successor.refuse();
  spdlog::info("pid {} asks to take over", successor.pid());
  Successor::Estate estate{
      {segment_.writable_structure_fd(), segment_.hints_fd(), server_.file().fd()},
      segment_.structure_size(),
      segment_.hints_size()};
  if (const int lock = server_.file().lock_fd(); lock >= 0) estate.descriptors.push_back(lock);
  const auto meanwhile = [this] {
    pulse_.progress();
    server_.serve_turn();
  };
  // The loop stands still meanwhile: nothing else is done, and nothing written.
  switch (successor.hand_over(estate, meanwhile, [this] { metrics_.reset(); })) {
    case Successor::End::kept:
      return spdlog::error("pid {} did not take over; this poold goes on", successor.pid());
    case Successor::End::taken_back:
      return go_on_after(successor.pid());
    case Successor::End::replaced:
      segment_.mark_stopped(kReplaced);
      break;
    case Successor::End::given:
      break;
  }
  leaves_segment_ = true;
  server_.give_up();
  successor.say_goodbye(clients_.alive());
  spdlog::info("pid {} goes on in this one's place", successor.pid());
  gone_(successor.pid());
}

// It may have written anything that a poold writes, up to its own pid.
void Daemon::go_on_after(pid_t successor) {
  spdlog::error("pid {} ended while it took over; this poold goes on", successor);
  segment_.sign();
  arms_.write_again();
  name_pools(config_);
  roll_call_.expect(config_.expected);
  reconciler_.adopt();
  // Who asks for the listener's pid (SO_PEERCRED) hears of the last one that called this.
  (void)!listen(server_.file().fd(), SOMAXCONN);
  try {
    metrics_ = serve_metrics(config_.metrics_listen);
  } catch (const UserError& error) {
    spdlog::error("{}; there are no metrics until the next start", error.what());
  }
}

}  // namespace portpool
