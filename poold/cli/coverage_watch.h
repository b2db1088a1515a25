// While a command runs: do the programs that it starts have the library? For the summary of a run
// in which nothing came through it.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <set>
#include <string>
#include <utility>

#include "daemon/event_loop.h"

namespace portpool {

class CoverageWatch {
 public:
  // Looks at the descendants of this process while `loop` runs, soon and then ever more rarely, at
  // a few new ones each time: one that lives for a moment only may be missed. `loop` must outlive
  // the object.
  explicit CoverageWatch(EventLoop& loop);

  // Which program was without the library, and as far as it can be seen why; empty: none was seen.
  const std::string& finding() const { return finding_; }

 private:
  void look();

  EventLoop& loop_;
  int timer_;
  std::chrono::milliseconds pause_;
  std::set<std::pair<pid_t, std::string>> seen_;  // with its name, which execve() changes
  std::string finding_;
};

}  // namespace portpool
