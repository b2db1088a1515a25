// Cuts what a segment counts into blocks, while it counts.
#pragma once

#include <chrono>
#include <optional>
#include <vector>

#include "compare/trial.h"
#include "portpool/segment.h"

namespace portpool {

class BlockSampler {
 public:
  using Time = std::chrono::steady_clock::time_point;

  // The blocks of mode ab, as the segment shows them; the first `dropped` of each is left out:
  // after a switch, caches and ports are still those of the other arm. Of a long measurement
  // neighbouring pairs become one, so that it takes kMostBlocks at most.
  static BlockSampler of_arms(const SegmentView& view, std::chrono::nanoseconds dropped, Time now);
  // Time slices of one arm, 1 s at first; when there are very many, two become one.
  static BlockSampler of_slices(const SegmentView& view, Time now);

  // How often tick() wants to be called: blocks are cut with this precision.
  static constexpr std::chrono::milliseconds kTick{5};
  // Of arms: some 7 MiB.
  static constexpr std::size_t kMostBlocks = 1024;
  void tick(Time now);
  // The last slice ends; a block of an arm that is not complete is left out.
  void finish(Time now);

  const std::vector<Block>& blocks() const { return blocks_; }
  // How many pairs of the segment's blocks are complete: both are in blocks(), or in one of these.
  std::size_t pairs() const;
  // The arm in force; nothing outside mode ab.
  std::optional<Route> arm() const;
  // Everything that happened since the beginning.
  Report total() const { return read_report(view_).since(first_); }

 private:
  BlockSampler(const SegmentView& view, bool arms, std::chrono::nanoseconds dropped, Time now);
  void follow_arms(Time now);
  void close(Time now, const Route* arm);
  void merge_slices();
  void merge_pairs();
  // The last pair becomes part of the one before it, where that has room.
  void join_last_pairs();

  SegmentView view_;
  bool arms_;
  std::chrono::nanoseconds dropped_;
  std::chrono::nanoseconds slice_ = std::chrono::seconds(1);
  Time origin_;
  Report first_;
  AbBlock current_{};
  Time entered_;
  std::optional<Report> begin_;  // the reading at which the present block's measured time began
  Time begin_time_;
  std::vector<Block> blocks_;
  std::uint32_t pairs_in_one_ = 1;  // at most; a power of two
};

}  // namespace portpool
