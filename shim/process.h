// What holds for the whole process: the environment's choice of mode, the clock, randomness, errno.
#pragma once

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <ctime>

namespace portpool::shim {

// PORTPOOL_MODE. A value that is none of the three means off.
enum class ProcessMode { pool, observe, off };

struct ProcessSettings {
  ProcessMode mode = ProcessMode::off;
  // seccomp filters that the program has installed, or is about to (filter.h).
  std::atomic<std::uint32_t> filters = 0;
  bool verbose = false;
  const char* socket_path = nullptr;  // PORTPOOL_SOCKET or the default
};

extern ProcessSettings settings;

// The library may do more than what it is called for. If not, each function is the one behind it.
inline bool is_active() {
  return settings.mode != ProcessMode::off && settings.filters.load(std::memory_order_relaxed) == 0;
}

// Set for good when the process changed its network namespace: from then on every new socket is
// asked for its own. A child made by a raw clone(CLONE_NEWNET) is not seen; it only loses accuracy.
extern bool namespace_changed;

inline std::uint64_t clock_ns(clockid_t clock) {
  timespec t;
  clock_gettime(clock, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000U +
         static_cast<std::uint64_t>(t.tv_nsec);
}

inline std::uint64_t now_ns() { return clock_ns(CLOCK_MONOTONIC); }

// CPU time of the calling thread. A system call, unlike now_ns(): some 0.2 us.
inline std::uint64_t thread_cpu_ns() { return clock_ns(CLOCK_THREAD_CPUTIME_ID); }

// This is a child that runs in its parent's memory, with descriptors of its own: of vfork(), or of
// clone(2) with CLONE_VM. What it closes is open in the parent. One system call; false where the
// kernel cannot tell (before Linux 4.14).
bool in_borrowed_memory();

// Draws the bits that random_at() is keyed by, once; before anybody asks for a number.
void make_secret();

// Unforeseeable for anybody outside the process: keyed by 128 secret bits, varied by time and
// thread. Needs no state of its own, so it is safe in signal handlers and differs after fork().
std::uint64_t random_at(std::uint64_t now);

// Leaves errno as it found it.
class ErrnoKeeper {
 public:
  ErrnoKeeper() : saved_(errno) {}
  ~ErrnoKeeper() { errno = saved_; }
  ErrnoKeeper(const ErrnoKeeper&) = delete;
  ErrnoKeeper& operator=(const ErrnoKeeper&) = delete;

 private:
  int saved_;
};

// One line on stderr, only with PORTPOOL_VERBOSE=1: "portpool: `first``second`".
void say(const char* first, const char* second = "");

}  // namespace portpool::shim
