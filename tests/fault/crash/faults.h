// What the driver does to whom: each crash point, by a death and by a stop.
#pragma once

#include <signal.h>

#include <string>

namespace portpool::test {

// What has to happen for a crash point to be passed.
enum class Passed {
  by_connecting,
  by_closing,
  by_starting,     // of a program
  by_reconciling,  // by poold itself
  by_new_lanes,
  by_taking_over,
};

struct CrashPoint {
  const char* name;  // PORTPOOL_CRASH_POINT(name)
  const char* words;
  Passed passed;
};

inline constexpr CrashPoint kCrashPoints[] = {
    {"after_claim", "program, after a claim", Passed::by_connecting},
    {"before_connect", "program, port pinned, before the connect", Passed::by_connecting},
    {"after_connect", "program, connected, before that is noted", Passed::by_connecting},
    {"before_release", "program, in close(), before the release", Passed::by_closing},
    {"in_attach", "program, while it attaches", Passed::by_starting},
    {"in_reconcile", "poold, within a reconcile pass", Passed::by_reconciling},
    {"in_lane", "poold, while it makes a lane", Passed::by_new_lanes},
    {"lane_filled", "poold, lane filled, not yet published", Passed::by_new_lanes},
    {"in_answer", "poold, answer half written", Passed::by_new_lanes},
    {"handing_over", "poold, hands over, successor not ready", Passed::by_taking_over},
    {"handed_over", "poold, has handed over", Passed::by_taking_over},
    {"before_ready", "successor, before it is ready", Passed::by_taking_over},
    {"has_become_owner", "successor, owner, before it has looked", Passed::by_taking_over},
    {"before_running", "successor, before it says that it runs", Passed::by_taking_over},
};

struct Fault {
  const CrashPoint* point;
  int signal;  // SIGKILL or SIGSTOP

  std::string words() const {
    return std::string(point->words) + (signal == SIGKILL ? ": killed" : ": stopped");
  }
};

}  // namespace portpool::test
