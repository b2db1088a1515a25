// Answers and lanes follow what they rest on: rules, sources, the kernel's port range, routes. A
// piece at a time: there may be tens of thousands of each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <vector>

#include "daemon/answers.h"
#include "daemon/lane_work.h"
#include "daemon/slice.h"

namespace portpool {

class AnswerReview {
 public:
  // refitted: called when lanes have come to another range.
  AnswerReview(LaneWork& work, Answers& answers, std::function<void()> refitted)
      : work_(work), answers_(answers), refitted_(std::move(refitted)) {}

  // New rules hold for existing lanes too: all answers go, and programs ask for each again.
  void rules_changed();
  void range_changed();
  void sources_changed(const std::vector<std::uint32_t>& pools);
  // Where the source was left to routing, the answer may change while we run: some of them are
  // looked at, others at each call.
  void look_at_routes();

  // True: there is more to do.
  bool run(const Slice& slice);

 private:
  bool step();
  void withdraw_some();
  void review_next();
  void refit_next();

  LaneWork& work_;
  Answers& answers_;
  std::function<void()> refitted_;
  std::optional<std::uint32_t> withdraw_from_;  // a place in the directory
  std::set<std::uint32_t> pools_;               // whose answers are reviewed
  std::size_t answers_left_ = 0;                // of all, to find those of the pools
  std::size_t routes_left_ = 0;
  std::optional<std::uint32_t> refit_from_;  // the place of a lane
};

}  // namespace portpool
