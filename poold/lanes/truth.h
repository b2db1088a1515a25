// What the kernel's socket table says about each lane's ports, gathered from one or more dumps.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "kernel/sock_diag.h"
#include "kernel/sysctl.h"
#include "lanes/lane_table.h"

namespace portpool {

// Of 64 ports, as port_place.h puts them together. Each port is in at most one of used, waiting and
// reusable once the dump is done; in none: no socket of this 4-tuple exists.
struct TruthWord {
  std::uint16_t index = 0;  // of the word
  std::uint64_t used = 0;
  std::uint64_t waiting = 0;  // TIME_WAIT that cannot be taken over (yet), FIN_WAIT2 orphans
  // TIME_WAIT that a pin may take over; [0] is oldest. In a lane of promises: ports that sockets
  // have, whatever their destination; in [0] one, in [1] two, in [2] more.
  std::uint64_t reusable[kReuseMaps] = {};

  // As the lane's maps stood before the dump began. By the maps' upper levels: a port that is on
  // its way into an empty map may count as unmapped for an instant.
  std::uint64_t released_before = 0;  // in quarantine or a reuse map
  std::uint64_t unmapped_before = 0;  // in no map

  bool has_sockets() const {
    std::uint64_t any = used | waiting;
    for (const std::uint64_t bits : reusable) any |= bits;
    return any != 0;
  }
};

// Whether somebody is about to use a port that he has claimed before the dump begins: when one is
// free that stands in no map and in no socket.
enum class Claims {
  none,   // nobody: when seen so once
  brief,  // for a moment: when seen so twice
  kept,   // for longer (promises): not now
};

// A lane as it is to be looked at: what may have become of it meanwhile, its LaneRef tells.
struct ExpectedLane {
  LaneKey key;
  LaneRef ref;
  PortRange range;
  Claims claims = Claims::brief;
};

// Takes memory for the words alone of which there is something to say: an idle lane has none.
class LaneTruth {
 public:
  explicit LaneTruth(const ExpectedLane& lane) : lane_(lane) {}

  const ExpectedLane& lane() const { return lane_; }
  const PortRange& range() const { return lane_.range; }

  // Of a word of the range. All 0 where nothing is known.
  const TruthWord& word(std::size_t index) const;
  TruthWord& word_to_write(std::size_t index);
  // In no particular order.
  const std::vector<TruthWord>& words() const { return words_; }

  // Some port stood in more than one map before the dump.
  bool has_doubles() const { return has_doubles_; }
  void note_doubles() { has_doubles_ = true; }

 private:
  std::size_t first() const { return first_word(lane_.range); }

  ExpectedLane lane_;
  bool has_doubles_ = false;
  std::vector<TruthWord> words_;
  // Of each word of the range, its place in words_ and 1; empty while there are no words.
  std::vector<std::uint16_t> places_;
};

class TruthCollector {
 public:
  // Forgets all lanes; from now on sockets are judged by `reuse`.
  void begin(const kernel::TimeWaitReuse& reuse);
  // Takes the lane into the collection; before the dump.
  void expect(const ExpectedLane& expected, LaneHints& lane);
  // Sorts a socket in, when its lane is expected.
  void add(const kernel::SocketRecord& socket);
  // Takes back what was said of a port of that lane; add() may say something else.
  void forget(const LaneKey& key, std::uint16_t port);
  const LaneTruth* find(const LaneKey& key) const;

  // In the order in which they were expected.
  const std::vector<LaneTruth>& lanes() const { return lanes_; }
  // Ports that a socket of some expected lane has had.
  const PortBits& taken() const { return taken_; }

 private:
  LaneTruth* find_to_write(const LaneKey& key);
  // A socket has that port, for whatever destination.
  void note_use(const Endpoint& local);
  void note_use(const Address& source, std::uint16_t port);

  kernel::TimeWaitReuse reuse_;
  bool expects_promises_ = false;
  std::vector<LaneTruth> lanes_;
  std::unordered_map<LaneKey, std::uint32_t, KeyHash> by_key_;  // their places in lanes_
  PortBits taken_ = {};
};

// Ports that no lane may claim: listened on, bound by somebody, or reserved by the administrator. A
// pin on one fails for every destination (__inet_hash_connect: the bucket belongs to a bind()).
struct BlockedPorts {
  PortBits bits = {};
};
// Changes nothing when the dump was not complete, or the reserved ports are not known; returns
// whether all went well. With the bind strategy reserved ports are not blocked: an explicit bind()
// may use them (ip-sysctl.rst).
bool collect_blocked(kernel::SockDiag& sock_diag, bool reserved_too, BlockedPorts& blocked);

}  // namespace portpool
