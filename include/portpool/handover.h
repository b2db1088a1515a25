// What poold says to a process that connects to its socket: one message, after which programs close
// the connection. They send nothing, and say so at once by shutdown(2), which spares poold to ask
// who they are and to wait for more; poold compare does (poold/daemon/comparison_server.h). On
// `granted` two descriptors come with it (SCM_RIGHTS): the structure, opened read-only, and the
// hints.
#pragma once

#include <cstdint>
#include <ctime>

#include "portpool/structure.h"

namespace portpool {

inline constexpr const char* kDefaultSocket = "/run/portpool/poold.sock";
inline constexpr int kAttachTimeoutMs = 50;

// Who had no answer in that time touches the socket's file (utimensat(2)): the right to connect is
// enough for that, and everybody who may connect sees it. For a second after the file's time of
// change nobody tries, so that a daemon that hangs costs one wait a second, however many programs
// start. A poold that lives sets the time back by that second, when it begins to listen and four
// times a second. Where the file cannot be touched (a read-only mount) each waits for itself.
inline constexpr std::int64_t kTouchedNs = 1'000'000'000;

// changed: the file's mtime; now: CLOCK_REALTIME. A time to come (the clock was set) is none.
inline bool is_touched(const timespec& changed, const timespec& now) {
  const std::int64_t seconds = now.tv_sec - changed.tv_sec;
  if (seconds < 0 || seconds > 2) return false;
  const std::int64_t age = seconds * 1'000'000'000 + now.tv_nsec - changed.tv_nsec;
  return age >= 0 && age < kTouchedNs;
}

// The names of the two memory files, as they stand in /proc/PID/fd behind "/memfd:".
inline constexpr const char* kStructureName = "portpool-structure";
inline constexpr const char* kHintsName = "portpool-hints";

enum class Handover : std::uint32_t {
  granted = 0,
  refused_user = 1,   // neither root, nor poold's own user, nor in socket_group
  refused_netns = 2,  // the caller is in another network namespace
};

struct HandoverMessage {
  std::uint64_t magic = kMagic;
  std::uint16_t layout_major = kLayoutMajor;
  std::uint16_t layout_minor = kLayoutMinor;
  Handover answer = Handover::granted;
  std::uint64_t structure_size = 0;  // bytes
  std::uint64_t hints_size = 0;      // bytes
};
static_assert(sizeof(HandoverMessage) == 32);

}  // namespace portpool
