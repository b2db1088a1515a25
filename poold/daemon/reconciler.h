// Makes lanes when clients ask for them, and keeps all lanes true to the kernel's socket table: on
// the event loop's thread in slices, with the walks over the kernel's table beside it.
//
//   walker           the walks: one at a time, those for new lanes first
//   answers          questions of programs, new lanes
//   attention        lanes that run low, port by port
//   pass             all lanes, after each walk
//   answer_review    what follows from new rules, ranges, sources and routes
//   table_room       lanes that give up their places
//   lane_settings    what lanes rest on besides sockets
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "daemon/answer_review.h"
#include "daemon/answers.h"
#include "daemon/attention.h"
#include "daemon/event_loop.h"
#include "daemon/lane_work.h"
#include "daemon/pass.h"
#include "daemon/table_room.h"
#include "daemon/turns.h"
#include "daemon/walker.h"
#include "kernel/address_events.h"

namespace portpool {

class Reconciler {
 public:
  // In the network namespace of the calling thread. Nothing moves until the loop runs, and the loop
  // runs no more when the object has ended. Throws std::system_error where sock_diag is missing,
  // UserError where a setting that lanes rest on cannot be read.
  Reconciler(EventLoop& loop, const StructureWriter& structure, std::vector<PoolRule> rules,
             Strategy strategy);
  ~Reconciler();
  Reconciler(const Reconciler&) = delete;
  Reconciler& operator=(const Reconciler&) = delete;

  // New rules hold for existing lanes too: clients ask for each of them again.
  void set_rules(std::vector<PoolRule> rules);

  // The segment holds what an earlier poold has written: lanes and answers stay in service, and the
  // present rules are applied to them in place.
  void adopt();

  // A program has placed a request, or asks for attention to a lane.
  void bell_rung();

  // An attached process has ended. nobody_left: no other is alive, as far as can be known at all.
  void process_ended(bool nobody_left);

  const LaneTable& lanes() const { return work_.lanes; }

  // What keeps lanes from being true to the kernel and the configuration; "": nothing.
  std::string trouble() const;

  // Reads sysctls, sources and routes again; every kSettingsPause by itself.
  // Besides, when an address has come or gone.
  void read_settings();
  static constexpr std::chrono::milliseconds kSettingsPause{250};

 private:
  using Clock = std::chrono::steady_clock;
  enum class For { nobody, answers, pass };

  // A slice of whatever there is to do.
  void work();
  void walk_ended();
  void start_walk();
  void set_timers();

  EventLoop& loop_;
  LaneWork work_;
  Walker walker_;
  TableRoom room_;
  Answers answers_;
  Pass pass_;
  Attention attention_;
  AnswerReview review_;
  For walk_for_ = For::nobody;
  Clock::time_point walk_began_;
  Clock::time_point walked_at_;  // the last walk that came to its end
  std::string walk_error_ = "nothing has been read yet";
  Clock::time_point blocked_due_;
  int work_timer_;
  int pass_timer_;
  int answers_timer_;
  Turns attention_turns_;
  kernel::AddressEvents address_events_;
  Turns address_turns_;
};

}  // namespace portpool
