// The lanes and the directory that leads to them: poold's own record, and its image in the segment.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "kernel/sysctl.h"
#include "portpool/segment.h"
#include "reconcile/rules.h"

namespace portpool {

struct KeyHash {
  std::size_t operator()(const LaneKey& key) const { return hash_of(key); }
};

using PortBits = std::uint64_t[kPortWords];

// What poold remembers of a lane from one reconcile to the next. Never read back from the segment.
struct LaneRecord {
  LaneKey key;
  std::uint32_t index = 0;
  std::uint32_t pool = 0;
  kernel::PortRange range;
  PortBits suspect = {};   // in no map and not in the kernel's table, seen once
  PortBits rejected = {};  // already in the rejected map at the last sweep of it
};

class LaneTable {
 public:
  explicit LaneTable(const SegmentView& view) : view_(view) {}

  LaneRecord* find(const LaneKey& key);
  // Takes a free place in the segment for a lane that is not there yet; null when all are taken.
  // The lane is in no directory entry: no client sees it before publish().
  LaneRecord* add(const LaneKey& key, std::uint32_t pool, kernel::PortRange range);
  // Answers `question` with these lanes (1..kLanesPerEntry), or, with none, refuses it. False: the
  // directory has no place left near the key's hash.
  bool publish(const LaneKey& question, const std::vector<const LaneRecord*>& lanes);

  Lane& lane(const LaneRecord& record) const { return view_.lane(record.index); }
  const std::vector<std::unique_ptr<LaneRecord>>& records() const { return records_; }
  bool full() const { return records_.size() >= view_.lane_count(); }

 private:
  SegmentView view_;
  std::vector<std::unique_ptr<LaneRecord>> records_;
  std::unordered_map<LaneKey, LaneRecord*, KeyHash> by_key_;
  // Which question stands in which directory place; the segment's copy is not trusted.
  std::unordered_map<std::uint32_t, LaneKey> entries_;
};

}  // namespace portpool
