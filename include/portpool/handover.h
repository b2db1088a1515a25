// What poold says to a process that connects to its socket: one message, after which programs close
// the connection. They send nothing; poold compare does (poold/daemon/comparison_server.h). On
// `granted` the segment's descriptor comes with it (SCM_RIGHTS).
#pragma once

#include <cstdint>

#include "portpool/layout.h"

namespace portpool {

inline constexpr const char* kDefaultSocket = "/run/portpool/poold.sock";
inline constexpr int kAttachTimeoutMs = 50;

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
  std::uint64_t segment_size = 0;  // bytes
};
static_assert(sizeof(HandoverMessage) == 24);

}  // namespace portpool
