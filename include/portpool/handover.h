// What poold says to a process that connects to its socket: one message, after which programs close
// the connection. They send nothing; poold compare does (poold/daemon/comparison_server.h). On
// `granted` two descriptors come with it (SCM_RIGHTS): the structure, opened read-only, and the
// hints.
#pragma once

#include <cstdint>

#include "portpool/structure.h"

namespace portpool {

inline constexpr const char* kDefaultSocket = "/run/portpool/poold.sock";
inline constexpr int kAttachTimeoutMs = 50;

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
