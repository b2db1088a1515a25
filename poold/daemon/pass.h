// A pass: the kernel's table is walked beside the loop, then each lane is brought into agreement
// with it, as many at a time as a slice holds.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "daemon/lane_work.h"
#include "daemon/slice.h"
#include "daemon/table_room.h"
#include "daemon/walker.h"

namespace portpool {

class Pass {
 public:
  Pass(LaneWork& work, TableRoom& room) : work_(work), room_(room) {}

  // A lane is short of ports, or wrong as a whole: calm is over.
  void hurry();
  // As soon as the share of a core allows.
  void want_now();
  // An attached process has ended: its ports are free as soon as a pass has seen it. nobody_left:
  // it was the last one, and no other can be alive. Then the pass is due at once, in advance of the
  // share of a core, and ports that no socket holds are free when seen so once.
  void process_ended(bool nobody_left);

  // How long until the next pass is due: soon while lanes change, later the more a pass costs, so
  // that passes take a small share of one core; the smallest while every lane has ports to spare,
  // when a hint that is out of date costs a rejection at most.
  std::chrono::nanoseconds until_due() const;
  bool under_way() const { return state_ != State::none; }
  bool wants_walk() const { return state_ == State::none && until_due().count() <= 0; }

  // Lanes that are made from now on wait for the next pass.
  WalkOrder begin_walk();
  void walked(std::unique_ptr<Walk> walk);
  // Goes on with the lanes of the walk. True: there is more.
  bool run(const Slice& slice);

 private:
  using Clock = std::chrono::steady_clock;
  enum class State { none, walking, updating };

  bool is_to_be_looked_at(const LaneRecord& record) const;
  void update(const LaneTruth& truth);
  // A dump takes long enough for a client to take a port and to give it back. Withdrawn for that,
  // the port would be missing until two more passes have not seen it: where few ports are left, it
  // counts. So those are asked for once more.
  void look_again(const LaneRecord& record);
  void end();

  LaneWork& work_;
  TableRoom& room_;
  State state_ = State::none;
  std::unique_ptr<Walk> walk_;
  std::size_t next_ = 0;  // of the walk's lanes

  // Of the pass under way.
  bool all_ = false;      // looks at every lane
  bool holding_ = false;  // at those that hold ports, however idle
  bool sweeps_ = false;
  bool plenty_now_ = true;
  std::uint32_t changes_ = 0;
  std::size_t look_ups_left_ = 0;
  std::chrono::nanoseconds cost_{0};

  // For the next.
  bool plenty_ = true;
  bool wanted_ = true;
  bool ended_ = false;  // a process has, since the last pass began
  bool nobody_left_ = false;
  unsigned quiet_passes_ = 0;
  std::uint64_t passes_ = 0;
  Clock::time_point ended_at_;
  std::chrono::nanoseconds last_cost_{0};
  Clock::time_point paid_until_;         // by then passes have had their share and no more
  Clock::time_point no_advance_before_;  // one in advance is to be paid first
  Clock::time_point swept_;
  Clock::time_point promises_ended_;
};

}  // namespace portpool
