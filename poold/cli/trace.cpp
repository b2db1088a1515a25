#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/outlet.h"
#include "cli/tell.h"
#include "observe/trace_tap.h"
#include "observe/trace_text.h"

namespace portpool {
namespace {

using namespace std::chrono_literals;

// The ring holds 0.16 s of 100,000 connects a second.
constexpr std::chrono::milliseconds kPause = 20ms;

// The daemon's trace, from one daemon to the next: when it ends that is said, and whoever listens
// on the socket later is listened to.
class Listener {
 public:
  // Throws UserError where no daemon is now.
  explicit Listener(std::string socket) : socket_(std::move(socket)) { tap_.emplace(socket_); }

  void poll(const std::function<void(const TraceRecord&)>& take) {
    if (!tap_) look_for_the_next();
    if (tap_) tap_->poll(take);
  }

  void check_daemon() {
    if (!tap_) return;
    try {
      tap_->check_daemon();
    } catch (const UserError& error) {
      tell("poold: {}; waiting for it\n", error.what());
      leave();
    }
  }

  // What is missing in the output, if anything.
  void last_words() {
    leave();
    if (lost_ != 0) {
      tell(
          "poold: {} calls are missing: they came faster than they could be printed; narrow "
          "the output with --pid, --destination or --min-us\n",
          lost_);
    }
    if (pauses_ != 0) {
      tell(
          "poold: the trace was off {} times, because nobody read the output for more than 3 "
          "s; calls in between are missing\n",
          pauses_);
    }
  }

 private:
  using Clock = std::chrono::steady_clock;

  void leave() {
    if (!tap_) return;
    lost_ += tap_->lost();
    pauses_ += tap_->pauses();
    tap_.reset();
    looked_at_ = Clock::now();
  }

  // Once a second: where the old daemon hangs, the attempt may take its time.
  void look_for_the_next() {
    if (Clock::now() - looked_at_ < 1s) return;
    looked_at_ = Clock::now();
    try {
      tap_.emplace(socket_);
      tap_->check_daemon();
      tell("poold: there is a daemon again\n");
    } catch (const UserError&) {
      tap_.reset();
    }
  }

  std::string socket_;
  std::optional<TraceTap> tap_;
  std::uint64_t lost_ = 0;
  std::uint64_t pauses_ = 0;
  Clock::time_point looked_at_;
};

}  // namespace

int trace_command(const TraceOptions& options) {
  Listener listener(options.socket);
  Outlet outlet;
  std::unique_ptr<TraceTable> table;
  if (options.wide) {
    table = std::make_unique<WideTraceTable>(isatty(STDOUT_FILENO) == 1);
  } else {
    table = std::make_unique<NarrowTraceTable>();
  }
  TraceCount count;
  if (!options.json && !options.count) outlet.print(table->heading());
  const auto start = std::chrono::steady_clock::now();
  const auto time_is_up = [&] {
    return options.seconds > 0 && std::chrono::steady_clock::now() - start >=
                                      std::chrono::duration<double>(options.seconds);
  };
  bool last_look = false;
  while (!last_look) {
    outlet.wait(kPause);
    last_look = outlet.ended() || time_is_up();
    std::string text;
    listener.poll([&](const TraceRecord& record) {
      if (!options.filter.matches(record)) return;
      if (options.count) {
        count.add(record);
      } else {
        text += options.json ? trace_json(record) : table->row(record);
      }
    });
    outlet.print(text);
    if (!last_look) listener.check_daemon();
  }
  if (options.count) outlet.print(options.json ? count.as_json() : count.as_text());
  if (!outlet.closed()) listener.last_words();
  return 0;
}

}  // namespace portpool
