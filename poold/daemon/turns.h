// Work that is asked for from outside, in turns: how often it is asked for must not decide how much
// of a core it takes, nor how long the event loop stays with it.
#pragma once

#include <chrono>
#include <functional>
#include <utility>

#include "daemon/event_loop.h"

namespace portpool {

struct Turn {
  std::chrono::nanoseconds pause;  // before the next one, so that the work's share stays small
  bool more = false;               // the next one has something to do already
};

class Turns {
 public:
  // The loop must outlive the object.
  Turns(EventLoop& loop, std::function<Turn()> work)
      : loop_(loop), work_(std::move(work)), timer_(loop.add_timer([this] { ask(); })) {}
  Turns(const Turns&) = delete;
  Turns& operator=(const Turns&) = delete;

  // A turn now, or as soon as the pause after the last one is over.
  void ask() {
    const auto now = std::chrono::steady_clock::now();
    if (now < due_) return loop_.set_timer(timer_, due_ - now);
    const Turn turn = work_();
    due_ = std::chrono::steady_clock::now() + turn.pause;
    if (turn.more) loop_.set_timer(timer_, turn.pause);
  }

 private:
  EventLoop& loop_;
  std::function<Turn()> work_;
  int timer_;
  std::chrono::steady_clock::time_point due_;
};

}  // namespace portpool
