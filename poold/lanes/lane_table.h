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
#include "lanes/rules.h"
#include "lanes/segment.h"
#include "portpool/segment.h"

namespace portpool {

using PortBits = std::uint64_t[kPortWords];

// The ports of word `word` that belong to the range.
constexpr std::uint64_t range_bits(const PortRange& range, std::size_t word) {
  std::uint64_t bits = ~std::uint64_t{0};
  if (word == range.low / 64U) bits &= ~std::uint64_t{0} << (range.low % 64);
  if (word == range.high / 64U) bits &= ~std::uint64_t{0} >> (63 - range.high % 64);
  return bits;
}

// What poold remembers of a lane from one reconcile to the next. Never read back from the segment.
struct LaneRecord {
  LaneKey key;
  LaneRef ref;
  std::uint32_t pool = 0;
  kernel::PortRange range;
  std::uint64_t rejections = 0;  // the lane's counter at the last pass
  PortBits suspect = {};         // in no map and not in the kernel's table, seen once
  PortBits rejected = {};        // already in the rejected map at the last sweep of it
};

class LaneTable {
 public:
  explicit LaneTable(const StructureWriter& structure);

  LaneRecord* find(const LaneKey& key) const;
  // Takes a free place in the segment for a lane that is not there yet; null when all are taken.
  // The lane is in no directory entry: no client sees it before publish().
  LaneRecord* add(const LaneKey& key, std::uint32_t pool, kernel::PortRange range);
  // Puts the lane into service with these ports. The range is not empty.
  void set_range(LaneRecord& record, std::uint32_t pool, kernel::PortRange range);
  // Out of service until set_range(): no client claims from it, and what is in its hints is kept
  // true all the same.
  void suspend(const LaneRecord& record);
  bool is_suspended(const LaneRecord& record) const;
  // Takes lanes out of service that nobody has used for a while and that hold no port, the longest
  // unused first, once the table is nearly full. Their places are free again a moment later.
  // Returns how many.
  std::size_t retire_idle();

  // Answers `question` with these lanes (1..kLanesPerEntry), or, with none, refuses it. False: the
  // directory has no place left near the key's hash.
  bool publish(const LaneKey& question, const std::vector<const LaneRecord*>& lanes,
               std::uint32_t flags);
  // Clients find no lane for `question` any more, and ask again.
  void withdraw(const LaneKey& question);
  void withdraw_all();

  struct Answer {
    LaneKey question;
    std::vector<LaneRef> lanes;  // none: refused
  };
  // What the directory says, from poold's own record; at most `count` answers, going round from
  // where the last call ended.
  std::vector<Answer> next_answers(std::size_t count);

  LaneHints& hints(const LaneRecord& record) const {
    return structure_.view().lane_hints(record.ref.index);
  }
  LaneInfo& info(const LaneRecord& record) const { return structure_.lane_info(record.ref.index); }
  const std::vector<std::unique_ptr<LaneRecord>>& records() const { return records_; }
  // Nobody has claimed from the lane for ten seconds.
  bool is_idle(const LaneRecord& record) const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Grave {
    std::uint32_t index;
    Clock::time_point since;
  };

  std::optional<std::uint32_t> free_place();
  // Another number for each use of a place.
  std::uint32_t next_generation(std::uint32_t place);
  std::uint64_t beats_unused(const LaneRecord& record) const;
  void clear_entry(std::uint32_t place);
  void retire(std::size_t position);

  StructureWriter structure_;
  // Of each place, the generation of its latest use.
  std::vector<std::uint32_t> generations_;
  std::vector<std::unique_ptr<LaneRecord>> records_;
  std::unordered_map<LaneKey, LaneRecord*, KeyHash> by_key_;
  // What stands in each directory place; the segment's copy is not trusted.
  std::map<std::uint32_t, Answer> entries_;
  std::uint32_t answers_from_ = 0;
  std::uint32_t never_used_ = 0;  // places from here on have never been taken
  std::deque<Grave> graves_;
};

}  // namespace portpool
