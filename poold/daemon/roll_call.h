// Who of those that the configuration expects ([expect]) is attached and served. A thread of its
// own looks: first at the processes that have attached; at all that /proc shows only while somebody
// is missing, to tell who does not run from who is not under the library.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/beside.h"
#include "daemon/config.h"
#include "daemon/event_loop.h"
#include "lanes/segment.h"
#include "observe/attached_entries.h"

namespace portpool {

class RollCall {
 public:
  // A look begins so long after the one before has ended; later where it takes more than a fiftieth
  // of a core.
  static constexpr std::chrono::seconds kPause{2};

  // `attached`: processes that are attached and alive, as poold numbers them; nullopt while a
  // predecessor has not said yet who attached to it. All must outlive the object; of `segment` the
  // expected clients are written here alone.
  RollCall(EventLoop& loop, const Segment& segment,
           std::function<std::optional<std::vector<pid_t>>()> attached);
  ~RollCall();
  RollCall(const RollCall&) = delete;
  RollCall& operator=(const RollCall&) = delete;

  // From now on these. Those that were expected before stay as they were until they are looked for;
  // an adopted segment says how an earlier poold saw them. Nobody expected: no thread, no cost.
  void expect(std::vector<Expected> expected);
  // A process has attached, under the name that it has at this moment.
  void attached(pid_t pid);

 private:
  struct Process {
    pid_t pid;
    std::string name;  // under which it has attached; empty: not known
  };

  void begin();
  void ended();
  // In the thread.
  void look();
  void look_at(const Process* attached, pid_t pid, std::vector<AttachedEntry>& entries);
  ExpectedState state_of(const Process* attached, pid_t pid, const AttachedEntry* entry,
                         const std::string& name) const;
  bool is_complete() const;

  EventLoop& loop_;
  const Segment& segment_;
  const std::function<std::optional<std::vector<pid_t>>()> attached_;
  int timer_;
  std::vector<Expected> expected_;
  std::map<pid_t, std::string> names_;  // of those that have attached
  // The thread's while it looks.
  std::vector<Expected> wanted_;
  std::vector<Process> processes_;
  std::vector<ExpectedState> found_;
  bool wants_units_ = false;
  bool failed_ = false;  // for want of descriptors or memory
  std::chrono::nanoseconds cost_{0};
  std::optional<Beside> beside_;  // last: its thread uses the others
};

}  // namespace portpool
