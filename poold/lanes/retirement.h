// Which lanes give up their places when the table runs full: the least used, by need.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "lanes/lane_table.h"

namespace portpool {

class Retirement {
 public:
  explicit Retirement(LaneTable& lanes) : lanes_(lanes) {}

  // Less than an eighth of the places is free: lanes that nobody has used for ten seconds are
  // chosen to restore that. Returns how many.
  std::size_t choose_idle();
  // A lane has found no place: chooses up to a sixteenth of the places, the least used first, of
  // the lanes that nobody has used for a second. Returns how many.
  std::size_t choose_by_need();

  // Takes the next chosen lane out of service, unless it has been used meanwhile or a port of it is
  // in use. False: there is none left.
  bool retire_next();
  // How many have been retired since this was asked last.
  std::size_t take_count() { return std::exchange(retired_, 0); }

 private:
  struct Candidate {
    std::uint64_t beats_unused;
    LaneRef lane;
  };

  std::size_t choose(std::size_t wanted, std::uint64_t least_beats);
  bool may_go(const LaneRecord& record, std::uint64_t least_beats) const;

  LaneTable& lanes_;
  std::vector<LaneRef> chosen_;  // the last is next
  std::uint64_t least_beats_ = 0;
  std::size_t retired_ = 0;
};

}  // namespace portpool
