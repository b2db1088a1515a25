// The driver's side of crash_order.h: gives orders, sees who obeyed, and continues who has stopped.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <set>

#include "fault/crash/crash_order.h"
#include "support/temp_dir.h"

namespace portpool::test {

class CrashControl {
 public:
  // Processes started from now on obey. Throws std::system_error.
  CrashControl();
  ~CrashControl();
  CrashControl(const CrashControl&) = delete;
  CrashControl& operator=(const CrashControl&) = delete;

  // The Nth passage of `point` from now on, by whomever. Who is stopped stays so for `hold`. Not
  // while somebody is stopped.
  void order(const char* point, int signal, std::uint32_t nth, std::chrono::milliseconds hold);
  // The order is no more. False: somebody has obeyed it.
  bool withdraw();
  bool is_given() const { return given_; }

  // To be called often: notes who has obeyed, and continues who was stopped for long enough.
  void tend();
  bool is_stopped(pid_t pid) const { return stopped_ == pid; }
  bool somebody_is_stopped() const { return stopped_ > 0; }
  // By an order.
  bool was_killed(pid_t pid) const { return killed_.contains(pid); }
  std::uint64_t obeyed() const { return obeyed_; }

 private:
  using Clock = std::chrono::steady_clock;

  TempDir directory_;
  CrashOrder* order_ = nullptr;
  bool given_ = false;
  std::chrono::milliseconds hold_{0};
  pid_t stopped_ = -1;
  Clock::time_point continues_;  // the epoch: it has not been seen to be stopped yet
  std::set<pid_t> killed_;
  std::uint64_t obeyed_ = 0;
};

}  // namespace portpool::test
