// The lanes and the directory that leads to them: poold's own record, and its image in the segment.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "kernel/sysctl.h"
#include "lanes/port_bits.h"
#include "lanes/rules.h"
#include "lanes/segment.h"
#include "portpool/segment.h"

namespace portpool {

// What poold remembers of a lane from one reconcile to the next. Read back from the segment by
// adopt() alone.
struct LaneRecord {
  LaneKey key;
  LaneRef ref;
  std::uint32_t pool = 0;
  kernel::PortRange range;
  bool filled = false;                 // its ports stand in its maps; no client finds it before
  bool holds_ports = false;            // some were in use when it was looked at last
  bool has_sockets = false;            // and the kernel showed sockets there, TIME_WAIT included
  std::uint32_t free = 0;              // ports to claim, at the last look
  std::uint64_t rejections = 0;        // the lane's counter at the last pass
  std::uint32_t rewritten = 0;         // the lane's counter at the last look at it
  SparsePorts suspect;                 // in no map and not in the kernel's table, seen once
  SparsePorts rejected;                // already in the rejected map at the last sweep of it
  std::vector<std::uint32_t> entries;  // places of the directory that lead to it
};

class LaneTable {
 public:
  explicit LaneTable(const StructureWriter& structure);

  LaneRecord* find(const LaneKey& key) const;
  // Null: the lane has been retired.
  LaneRecord* find(LaneRef ref) const;
  // For walks over all lanes in pieces, between which lanes may come and go: the lane at that place
  // of the segment, or null; all are below end().
  LaneRecord* at(std::uint32_t place) const { return records_[place].get(); }
  std::uint32_t end() const { return never_used_; }
  std::size_t size() const { return by_key_.size(); }
  std::size_t places() const { return records_.size(); }

  // Takes a free place in the segment for a lane that is not there yet; null when all are taken.
  // The lane is in no directory entry: no client sees it before publish().
  LaneRecord* add(const LaneKey& key, std::uint32_t pool, kernel::PortRange range);
  // Puts the lane into service with these ports. The range is not empty.
  void set_range(LaneRecord& record, std::uint32_t pool, kernel::PortRange range);
  // Out of service until set_range(): no client claims from it, and what is in its hints is kept
  // true all the same.
  void suspend(const LaneRecord& record);
  bool is_suspended(const LaneRecord& record) const;
  // Out of service for good; the record is gone. The place is free again kGrace later.
  void retire(const LaneRecord& record);
  static constexpr std::chrono::milliseconds kGrace{200};
  // A place is about to be free again.
  bool comes_free() const { return !graves_.empty(); }

  // Answers `question` with these lanes (1..kLanesPerEntry), or, with none, refuses it (with the
  // flags that say why). False: the directory has no place left near the key's hash, not even one
  // with a refusal, which would be replaced.
  bool publish(const LaneKey& question, const std::vector<const LaneRecord*>& lanes,
               std::uint32_t flags);
  // Those that are answered with the lane.
  std::vector<LaneKey> questions_to(const LaneRecord& record) const;
  // Clients find no lane for `question` any more, and ask again.
  void withdraw(const LaneKey& question);
  // The same for at most `count` answers from directory place `from` on. Returns where to go on; 0:
  // there are no more.
  std::uint32_t withdraw_some(std::uint32_t from, std::size_t count);

  struct Answer {
    LaneKey question;
    std::vector<LaneRef> lanes;  // none: refused
  };
  // What the directory says, from poold's own record; at most `count` answers, going round from
  // where the last call ended.
  std::vector<Answer> next_answers(std::size_t count);
  std::size_t answers() const { return entries_.size(); }

  struct AdoptedAnswer {
    Answer answer;
    std::uint32_t flags;  // EntryFlags
  };
  // Goes on with the lanes and answers that an earlier poold has left in the segment, whatever was
  // known before: they stay in service as they are. What is half-written, or leads to no lane, is
  // cleared. poold alone writes there, but may have been killed at any step of it.
  std::vector<AdoptedAnswer> adopt();

  LaneHints& hints(const LaneRecord& record) const {
    return structure_.view().lane_hints(record.ref.index);
  }
  LaneInfo& info(const LaneRecord& record) const { return structure_.lane_info(record.ref.index); }
  // In service, the fullest first as of the last look at each, without those of promises.
  std::vector<const LaneRecord*> fullest(std::size_t most) const;
  // Heartbeats since somebody has claimed from the lane.
  std::uint64_t beats_unused(const LaneRecord& record) const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Grave {
    std::uint32_t index;
    Clock::time_point since;
  };

  std::optional<std::uint32_t> free_place();
  // Another number for each use of a place.
  std::uint32_t next_generation(std::uint32_t place);
  void clear_entry(std::uint32_t place);
  // The lanes of the entry in that place know of it, or (on = false) forget it.
  void link(std::uint32_t place, const Answer& entry, bool on);
  void adopt_lane(std::uint32_t place);
  std::optional<AdoptedAnswer> adopt_entry(std::uint32_t place);

  StructureWriter structure_;
  // Of each place, the generation of its latest use.
  std::vector<std::uint32_t> generations_;
  std::vector<std::unique_ptr<LaneRecord>> records_;  // by place
  std::unordered_map<LaneKey, LaneRecord*, KeyHash> by_key_;
  // What stands in each directory place; the segment's copy is not trusted.
  std::map<std::uint32_t, Answer> entries_;
  std::uint32_t answers_from_ = 0;
  std::uint32_t never_used_ = 0;  // places from here on have never been taken
  std::deque<Grave> graves_;
};

}  // namespace portpool
