// A lane beside a model of the kernel's sockets, with reconcile cut into its three phases, so that
// clients can act between them.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "lanes/lane_update.h"
#include "unit/contract/lane_memory.h"

namespace portpool::test {

// The kernel's socket of one port of the lane. TIME_WAIT grows old from waiting to reusable0.
enum class Socket { none, used, waiting, reusable2, reusable1, reusable0 };

class LaneModel {
 public:
  LaneModel(std::uint16_t low, std::uint16_t high);

  LaneHints& lane() { return *lane_; }
  LaneRecord& record() { return record_; }
  const LaneTruth& truth() const { return *truth_.find(record_.key); }
  std::uint16_t low() const { return record_.range.low; }
  std::uint16_t high() const { return record_.range.high; }

  void set(std::uint16_t port, Socket socket) { sockets_[port] = socket; }
  Socket socket(std::uint16_t port) const { return sockets_[port]; }
  void block(std::uint16_t port, bool on);
  bool blocked(std::uint16_t port) const { return blocked_set_.contains(port); }

  // For a new lane.
  void fill();

  // What the next begin() says of clients.
  void claims(Claims claims) { claims_ = claims; }
  // From now on it is the lane of promises of its source, and set() speaks of any destination.
  void make_promises() { record_.key = promises_of(record_.key.source); }
  void begin();                                     // before the dump
  void dump(std::uint16_t from, std::uint16_t to);  // part of the dump
  LaneChanges finish();                             // update_lane()
  LaneChanges reconcile();                          // all three
  // update_ports() instead, after a dump of these ports alone.
  LaneChanges reconcile_only(const std::set<std::uint16_t>& ports);

  // "free", "reuse0".., "quarantine", "rejected", "blocked", joined by "+" when there are several;
  // "" when the port is in none.
  std::string place(std::uint16_t port);
  // The place that agrees with the kernel.
  std::string right_place(std::uint16_t port) const;
  // The ports of the range that stand elsewhere, in words.
  std::vector<std::string> misplaced();

 private:
  std::unique_ptr<LaneHints> lane_ = make_lane();
  LaneRecord record_;
  std::vector<Socket> sockets_;
  BlockedPorts blocked_;
  std::set<std::uint16_t> blocked_set_;
  TruthCollector truth_;
  Claims claims_ = Claims::brief;
};

}  // namespace portpool::test
