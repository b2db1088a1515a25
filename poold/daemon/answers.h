// Answers what programs ask for: which lanes lead to a destination. Lanes that are missing are
// made, filled from the kernel's table and published, a batch at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "daemon/lane_work.h"
#include "daemon/slice.h"
#include "daemon/table_room.h"
#include "daemon/walker.h"

namespace portpool {

class Answers {
 public:
  Answers(LaneWork& work, TableRoom& room) : work_(work), room_(room) {}

  // Programs have placed requests. One that cannot be served now is dropped: the program's next
  // connect() places it again.
  void rung() { rung_ = true; }
  // The answer is no longer the right one. In place: a program that looks meanwhile finds the old
  // one.
  void ask_again(const LaneKey& question) { asked_.push_back(question); }
  bool is_outdated(const LaneTable::Answer& answer) const;
  // Programs have found that the lane's destination is rewritten on the way. Not believed of a lane
  // that the kernel has shown sockets of.
  void rewritten(const LaneRecord& lane);
  // EntryFlags of an answer that has lanes.
  static std::uint32_t flags_for(const LaneKey& question, const PoolRule& rule);

  // Goes on with the batch, or begins one when its time has come. True: there is more to do now.
  bool run(const Slice& slice);
  // For the lanes of the batch, and only while wants_walk(): then walked().
  bool wants_walk() const { return state_ == State::wants_walk; }
  WalkOrder begin_walk();
  void walked(std::unique_ptr<Walk> walk);

  // Whether a batch waits for its time, and how long: new lanes take a quarter of a core at most.
  bool waits() const { return state_ == State::idle && (rung_ || !asked_.empty()); }
  std::chrono::nanoseconds until_due() const { return due_ - Clock::now(); }

  // A program that died while it wrote leaves its slot in that state for good, and whoever may
  // attach can leave any other number there: a slot that is neither empty nor ready at two calls is
  // emptied.
  void free_dead_slots();

 private:
  using Clock = std::chrono::steady_clock;
  enum class State { idle, planning, wants_walk, walking, filling, publishing };
  struct Pending {
    LaneKey question;
    std::vector<LaneRef> lanes;
    std::uint32_t flags = 0;
    std::uint64_t settings = 0;  // LaneSettings::version() when it was planned
    bool refused = false;        // no lane can serve it, however often it is asked
  };

  void take_requests();
  bool step();
  bool plan_next();
  void plan(const LaneKey& question);
  bool fill_next();
  bool publish_next();
  void publish(const Pending& answer);
  // A destination that finds no place in the directory is asked for at every connect.
  void warn_rarely(const LaneKey& question);

  LaneWork& work_;
  TableRoom& room_;
  bool rung_ = false;
  std::deque<LaneKey> asked_;
  State state_ = State::idle;
  std::vector<Pending> pending_;
  std::vector<LaneRef> fresh_;  // those of them that are to be filled
  std::size_t next_ = 0;        // of fresh_ or pending_, as the state says
  std::unique_ptr<Walk> walk_;
  std::chrono::nanoseconds cost_{0};
  Clock::time_point due_;
  std::uint64_t places_missing_ = 0;
  std::vector<bool> slots_seen_dead_;
};

}  // namespace portpool
