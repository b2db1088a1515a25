// Which network namespace the calling thread is in.
#pragma once

#include "portpool/segment.h"

namespace portpool::kernel {

// Cookie (SO_NETNS_COOKIE, 0 before Linux 5.14) and inode (/proc/thread-self/ns/net, 0 without
// /proc). Throws std::system_error when neither can be had, because then nothing could be compared,
// and when no socket can: without a cookie visitors from elsewhere would not be told apart.
NetworkNamespace current_network_namespace();

}  // namespace portpool::kernel
