#include "shim/own_entry.h"

#include <unistd.h>

#include <ctime>

#include "portpool/attached.h"
#include "portpool/system_call.h"
#include "shim/attach.h"
#include "shim/identity.h"
#include "shim/process.h"

namespace portpool::shim {
namespace {

constexpr std::uint32_t kBeingTaken = 1;
constexpr std::uint32_t kFirstPlace = 2;
// Until the next attempt, when there was no place, or somebody has taken it.
constexpr std::uint32_t kPauseBeats = 10;

std::uint32_t beat_of(const SegmentView& view) {
  return static_cast<std::uint32_t>(view.header().heartbeat.load(std::memory_order_relaxed));
}

AttachedProcess* known_entry(const SegmentView& view, const Identity* self) {
  const std::uint32_t place = self != nullptr ? self->place.load(std::memory_order_relaxed) : 0;
  if (place < kFirstPlace || view.attached_count() == 0) return nullptr;
  AttachedProcess& entry = view.attached(place - kFirstPlace);
  const std::uint64_t owner = entry.owner.load(std::memory_order_relaxed);
  return owner == self->owner.load(std::memory_order_relaxed) ? &entry : nullptr;
}

// Without more system calls than that one, in a forked child: it may be in a sandbox.
std::uint32_t own_pid() {
  const std::uint32_t known = known_pid();
  return known != 0 ? known : static_cast<std::uint32_t>(system_call(SYS_getpid));
}

// Of several threads one takes it; the others' connects are not counted meanwhile.
__attribute__((noinline, cold)) AttachedProcess* take_entry(const SegmentView& view,
                                                            Identity& self) {
  const std::uint32_t beat = beat_of(view);
  std::uint32_t place = self.place.load(std::memory_order_relaxed);
  const std::uint32_t tried = self.tried.load(std::memory_order_relaxed);
  if (view.attached_count() == 0 || place == kBeingTaken ||
      (tried != 0 && beat - tried < kPauseBeats) ||
      !self.place.compare_exchange_strong(place, kBeingTaken, std::memory_order_acq_rel)) {
    return nullptr;
  }
  const ErrnoKeeper keep;
  const std::uint64_t random = random_at(now_ns()) >> 32;
  AttachedIdentity who;
  who.owner = (random != 0 ? random : 1) << 32 | own_pid();
  who.since_ns = clock_ns(CLOCK_BOOTTIME);
  who.pid_namespace = origin().pid_namespace;
  for (int i = 0; i < 2; ++i) who.comm[i] = origin().comm[i];
  who.mode = settings.mode == ProcessMode::observe ? 1 : 0;
  const std::uint32_t taken = take_attached_place(view, who, beat);
  self.tried.store(beat, std::memory_order_relaxed);
  self.owner.store(who.owner, std::memory_order_relaxed);
  self.place.store(taken != kNoAttachedPlace ? taken + kFirstPlace : 0, std::memory_order_release);
  return taken != kNoAttachedPlace ? &view.attached(taken) : nullptr;
}

// A process that ends well leaves its place to others.
__attribute__((destructor)) void leave() {
  const SegmentView* view = mapped_segment();
  const Identity* self = own_identity();
  AttachedProcess* entry = view != nullptr ? known_entry(*view, self) : nullptr;
  if (entry == nullptr) return;
  std::uint64_t owner = self->owner.load(std::memory_order_relaxed);
  entry->owner.compare_exchange_strong(owner, 0, std::memory_order_relaxed);
}

AttachedProcess* own_entry(const SegmentView& view) {
  Identity* self = own_identity();
  AttachedProcess* entry = known_entry(view, self);
  return entry != nullptr || self == nullptr ? entry : take_entry(view, *self);
}

void add(std::atomic<std::uint32_t>& count) { count.fetch_add(1, std::memory_order_relaxed); }

}  // namespace

void count_own(const SegmentView& view, Route path) {
  AttachedProcess* entry = own_entry(view);
  if (entry == nullptr) return;
  entry->connects[static_cast<std::size_t>(path)].fetch_add(1, std::memory_order_relaxed);
  const std::uint32_t beat = beat_of(view);
  if (entry->beat.load(std::memory_order_relaxed) != beat) {
    entry->beat.store(beat, std::memory_order_relaxed);
  }
}

void count_own(const SegmentView& view, FallbackReason why) {
  AttachedProcess* entry = own_entry(view);
  if (entry != nullptr) add(entry->fallbacks[static_cast<std::size_t>(why)]);
}

void count_own_filtered(const SegmentView& view) {
  AttachedProcess* entry = known_entry(view, own_identity());
  if (entry == nullptr) return;
  entry->connects[static_cast<std::size_t>(Route::kernel)].fetch_add(1, std::memory_order_relaxed);
  add(entry->fallbacks[static_cast<std::size_t>(FallbackReason::k_seccomp)]);
}

}  // namespace portpool::shim
