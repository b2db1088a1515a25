// The attached processes that are still alive. Ports depend on the kernel's table alone: this tells
// when it is worth a look.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <vector>

#include "base/descriptor.h"
#include "daemon/event_loop.h"

namespace portpool {

class Clients {
 public:
  // Keeps `count` at the number of processes known to be alive. `ended` is called from the loop
  // when some of them have ended, once for all that end within a millisecond.
  Clients(EventLoop& loop, std::atomic<std::uint32_t>& count, std::function<void()> ended);
  ~Clients();
  Clients(const Clients&) = delete;
  Clients& operator=(const Clients&) = delete;

  // A process attached. One that cannot be followed (pid 0: another pid namespace; a kernel
  // before 5.3; no descriptor left) is not counted. Attaching twice (exec, a restart) counts once.
  // A quarter of the descriptors that poold may have (RLIMIT_NOFILE) is for this: the count is then
  // the least that there are.
  void attached(pid_t pid);
  std::vector<pid_t> alive() const;
  // Somebody is attached, or may be, of whose end nothing is heard.
  void lose_sight() { lost_sight_ = true; }

  // All that have attached were followed, and have ended. (Children that one has forked and left
  // behind are not seen.)
  bool nobody_left() const { return alive_.empty() && !lost_sight_; }

 private:
  void follow(pid_t pid, Descriptor handle);
  void forget(pid_t pid);
  void say_full_once(const char* why);

  EventLoop& loop_;
  std::atomic<std::uint32_t>& count_;
  std::function<void()> ended_;
  int ended_timer_;
  bool ended_due_ = false;
  bool said_full_ = false;
  bool lost_sight_ = false;            // one has attached that could not be followed
  std::map<pid_t, Descriptor> alive_;  // pidfds
};

}  // namespace portpool
