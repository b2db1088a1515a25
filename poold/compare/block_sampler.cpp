#include "compare/block_sampler.h"

#include <algorithm>
#include <cmath>

namespace portpool {
namespace {

constexpr std::size_t kMostSlices = 240;

double seconds(std::chrono::nanoseconds time) {
  return std::chrono::duration<double>(time).count();
}

bool are_pair(const Block& one, const Block& other) {
  return one.number % 2 == 1 && other.number == one.number + 1 && one.arm != other.arm;
}

AbBlock block_in_force(const SegmentView& view) {
  return AbBlock::unpack(view.header().ab_block.load(std::memory_order_acquire));
}

}  // namespace

BlockSampler::BlockSampler(const SegmentView& view, bool arms, std::chrono::nanoseconds dropped,
                           Time now)
    : view_(view),
      arms_(arms),
      dropped_(dropped),
      origin_(now),
      first_(read_report(view)),
      entered_(now),
      begin_time_(now) {
  if (!arms_) begin_ = first_;
}

BlockSampler BlockSampler::of_arms(const SegmentView& view, std::chrono::nanoseconds dropped,
                                   Time now) {
  return {view, true, dropped, now};
}

BlockSampler BlockSampler::of_slices(const SegmentView& view, Time now) {
  return {view, false, {}, now};
}

void BlockSampler::tick(Time now) {
  if (arms_) return follow_arms(now);
  if (now - begin_time_ < slice_) return;
  close(now, nullptr);
  merge_slices();
}

void BlockSampler::finish(Time now) {
  if (!arms_) close(now, nullptr);
}

void BlockSampler::follow_arms(Time now) {
  const AbBlock block = block_in_force(view_);
  if (block.number != current_.number) {
    // A block that was missed (this process was stopped) would have its calls counted in the one
    // before.
    if (begin_ && block.number == current_.number + 1) close(now, &current_.arm);
    begin_.reset();
    current_ = block;
    entered_ = now;
  }
  if (!begin_ && current_.number != 0 && now - entered_ >= dropped_) {
    begin_ = read_report(view_);
    begin_time_ = now;
  }
}

void BlockSampler::close(Time now, const Route* arm) {
  Report end = read_report(view_);
  Block block = block_between(*begin_, end, arm);
  block.number = arm != nullptr ? current_.number : static_cast<std::uint32_t>(blocks_.size() + 1);
  block.start_s = seconds(begin_time_ - origin_);
  block.length_s = seconds(now - begin_time_);
  blocks_.push_back(block);
  if (arms_) merge_pairs();
  begin_ = std::move(end);
  begin_time_ = now;
}

// The statistics count each pair once: so all stand for as many of the segment's, but for the last
// one and those before a gap.
void BlockSampler::merge_pairs() {
  if (blocks_.size() >= kMostBlocks) {
    pairs_in_one_ *= 2;
    std::vector<Block> all;
    all.swap(blocks_);
    for (std::size_t i = 0; i + 1 < all.size(); ++i) {
      if (!are_pair(all[i], all[i + 1])) continue;
      blocks_.push_back(all[i]);
      blocks_.push_back(all[i + 1]);
      join_last_pairs();
    }
    // Perhaps the first of a pair.
    if (all.back().number % 2 == 1) blocks_.push_back(all.back());
  } else {
    join_last_pairs();
  }
}

void BlockSampler::join_last_pairs() {
  if (blocks_.size() < 4) return;
  const std::size_t first = blocks_.size() - 4;
  if (!are_pair(blocks_[first], blocks_[first + 1])) return;
  if (!are_pair(blocks_[first + 2], blocks_[first + 3])) return;
  if (blocks_[first].merged + blocks_[first + 2].merged > pairs_in_one_) return;
  for (const std::size_t later : {first + 2, first + 3}) {
    const bool same_arm = blocks_[later].arm == blocks_[first].arm;
    append(blocks_[same_arm ? first : first + 1], blocks_[later]);
  }
  blocks_.resize(first + 2);
}

void BlockSampler::merge_slices() {
  if (blocks_.size() < kMostSlices) return;
  std::vector<Block> merged;
  for (std::size_t i = 0; i + 1 < blocks_.size(); i += 2) {
    Block both = blocks_[i];
    append(both, blocks_[i + 1]);
    both.number = static_cast<std::uint32_t>(merged.size() + 1);
    merged.push_back(both);
  }
  blocks_ = std::move(merged);
  slice_ *= 2;
}

std::size_t BlockSampler::pairs() const {
  std::size_t count = 0;
  for (std::size_t i = 0; i + 1 < blocks_.size(); ++i) {
    if (are_pair(blocks_[i], blocks_[i + 1])) count += blocks_[i].merged;
  }
  return count;
}

std::optional<Route> BlockSampler::arm() const {
  const AbBlock block = block_in_force(view_);
  if (block.number == 0) return std::nullopt;
  return block.arm;
}

}  // namespace portpool
