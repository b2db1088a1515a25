// A random walk in which programs and poold die and stop at chosen points.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "fault/crash/crash_control.h"
#include "fault/crash/faults.h"
#include "fault/fault_table.h"
#include "support/walk/random_walk.h"

namespace portpool::test {

class FaultWalk : private RandomWalk {
 public:
  FaultWalk(CrashControl& control, const WalkShape& shape, std::uint64_t seed);

  // Has it happen so many times, in the midst of everything else, and then lets poold come to agree
  // with the kernel.
  FaultRow try_out(const Fault& fault, int times);

  using RandomWalk::counts;
  using RandomWalk::finish;

 private:
  void before_answer(std::size_t worker) override;
  void worker_ended(std::size_t worker, const std::runtime_error& error) override;
  void restart_daemon() override;

  void try_once(const Fault& fault);
  void one_step(Passed passed);
  void provoke(Passed passed);
  void storm();
  void ask_for_new_lanes();
  void hand_over();
  void change_configuration();
  void change_addresses();

  void tend();
  void replace_killed();
  bool daemon_lives();
  // It lives, and is not stopped.
  bool daemon_is_well();
  void restart_dead_daemon();
  // Nobody is stopped, and everybody is there.
  void come_to_rest();
  int most_passages(Passed passed) const;
  std::chrono::milliseconds random_hold(Passed passed);

  CrashControl& control_;
  bool second_address_ = false;
};

}  // namespace portpool::test
