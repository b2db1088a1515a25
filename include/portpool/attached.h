// The table of attached processes in the hints: who uses the segment, as each process says of
// itself, for `poold status --clients` and `poold check --all`. Nothing else reads it.
//
// A process takes an entry at its first connect, and counts there from then on: of the entry's
// counters it is the only writer, so that a count is one addition to a line that no other process
// touches. Whoever finds another owner in its entry (taken over, or emptied by a poold that began
// anew) takes one again and counts from 0.
//
// Memory order: `ready` is stored (release) after the rest of its line; a reader loads it (acquire)
// and looks at both again after what it has read. Counters are relaxed throughout.
#pragma once

#include <atomic>
#include <cstdint>

#include "portpool/segment.h"

namespace portpool {

inline constexpr std::uint32_t kNoAttachedPlace = ~std::uint32_t{0};
// An entry is looked for among so many places, from a random one on.
inline constexpr std::uint32_t kAttachedProbes = 8;
// Where all of these have owners, the one that has been silent for longest has to go if that is
// 10 s: of a process that was killed, as a rule. An idle one takes another entry when it goes on.
inline constexpr std::uint32_t kAttachedSilentBeats = 100;

struct AttachedIdentity {
  std::uint64_t owner = 0;          // AttachedProcess::owner
  std::uint64_t since_ns = 0;       // CLOCK_BOOTTIME
  std::uint64_t comm[2] = {};       // 16 characters, filled up with 0
  std::uint64_t pid_namespace = 0;  // inode; 0: not known
  std::uint32_t mode = 0;           // 0 pool, 1 observe

  std::uint32_t pid() const { return static_cast<std::uint32_t>(owner); }
};

// Places wrap. kNoAttachedPlace: none is to be had now. beat: the heartbeat's lower half.
inline std::uint32_t take_attached_place(const SegmentView& view, const AttachedIdentity& who,
                                         std::uint32_t beat) {
  if (view.attached_count() == 0) return kNoAttachedPlace;
  const auto first = static_cast<std::uint32_t>(who.owner >> 32) % view.attached_count();
  std::uint32_t chosen = kNoAttachedPlace;
  std::uint32_t longest = kAttachedSilentBeats - 1;
  std::uint64_t before = 0;
  for (std::uint32_t i = first; i < first + kAttachedProbes; ++i) {
    const AttachedProcess& entry = view.attached(i);
    const std::uint64_t owner = entry.owner.load(std::memory_order_relaxed);
    const std::uint32_t silent = beat - entry.beat.load(std::memory_order_relaxed);
    if (owner != 0 && silent <= longest) continue;
    chosen = i % view.attached_count();
    before = owner;
    longest = silent;
    if (owner == 0) break;
  }
  if (chosen == kNoAttachedPlace) return chosen;
  AttachedProcess& entry = view.attached(chosen);
  if (!entry.owner.compare_exchange_strong(before, who.owner, std::memory_order_acq_rel)) {
    return kNoAttachedPlace;  // somebody was quicker
  }
  // Who reads one of the fields below sees this owner, too (read_attached()).
  std::atomic_thread_fence(std::memory_order_release);
  entry.since_ns.store(who.since_ns, std::memory_order_relaxed);
  for (int i = 0; i < 2; ++i) entry.comm[i].store(who.comm[i], std::memory_order_relaxed);
  entry.pid_namespace.store(who.pid_namespace, std::memory_order_relaxed);
  entry.mode.store(who.mode, std::memory_order_relaxed);
  for (auto& count : entry.connects) count.store(0, std::memory_order_relaxed);
  for (auto& count : entry.fallbacks) count.store(0, std::memory_order_relaxed);
  entry.beat.store(beat, std::memory_order_relaxed);
  entry.ready.store(who.owner, std::memory_order_release);
  return chosen;
}

// What stands in an entry.
struct AttachedRecord {
  AttachedIdentity who;
  std::uint64_t connects[2] = {};  // by Route
  std::uint32_t fallbacks[kAttachedReasons] = {};
  std::uint32_t beat = 0;
};

// False: nobody's, or being written.
inline bool read_attached(const AttachedProcess& entry, AttachedRecord& out) {
  out.who.owner = entry.ready.load(std::memory_order_acquire);
  if (out.who.owner == 0 || entry.owner.load(std::memory_order_relaxed) != out.who.owner) {
    return false;
  }
  out.who.since_ns = entry.since_ns.load(std::memory_order_relaxed);
  for (int i = 0; i < 2; ++i) {
    out.who.comm[i] = entry.comm[i].load(std::memory_order_relaxed);
    out.connects[i] = entry.connects[i].load(std::memory_order_relaxed);
  }
  out.who.pid_namespace = entry.pid_namespace.load(std::memory_order_relaxed);
  out.who.mode = entry.mode.load(std::memory_order_relaxed);
  for (std::size_t i = 0; i < kAttachedReasons; ++i) {
    out.fallbacks[i] = entry.fallbacks[i].load(std::memory_order_relaxed);
  }
  out.beat = entry.beat.load(std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_acquire);
  return entry.owner.load(std::memory_order_relaxed) == out.who.owner &&
         entry.ready.load(std::memory_order_relaxed) == out.who.owner;
}

}  // namespace portpool
