// The kernel's settings under /proc/sys, as the calling thread's network namespace sees them.
//
// Absent: the file is missing where its neighbours are (an older kernel, a setting that is not per
// namespace). Unknown: no /proc, no right to read, out of descriptors, a text not understood.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/answer.h"
#include "kernel/socket_record.h"
#include "portpool/structure.h"

namespace portpool::kernel {

using portpool::PortRange;

// The content of /proc/sys/<name> without trailing white space, for example
// read_sysctl_text("net/ipv4/tcp_mem").
Answer<std::string> read_sysctl_text(std::string_view name);

// The number in /proc/sys/<name>; unknown also when the file holds anything but one number.
Answer<long> read_sysctl(std::string_view name);

// net/ipv4/ip_local_port_range: the range of the kernel's automatic choice, for IPv6 too.
// Never absent.
Answer<PortRange> local_port_range();

// net/ipv4/ip_local_reserved_ports, ascending: ports that the automatic choice skips.
Answer<std::vector<PortRange>> reserved_ports();

// Reads "1-3,9" as the kernel prints it. nullopt for anything else; empty text is an empty list.
std::optional<std::vector<PortRange>> parse_port_list(std::string_view text);

// How long an entry stays in TIME_WAIT (TCP_TIMEWAIT_LEN, include/net/tcp.h).
inline constexpr std::uint32_t kTimeWaitMs = 60'000;

// Whether connect() may take over a 4-tuple that is in TIME_WAIT.
struct TimeWaitReuse {
  int mode = 0;                      // tcp_tw_reuse: 0 never, 1 always, 2 on loopback only
  std::uint32_t min_age_ms = 1'000;  // how long it must have been in TIME_WAIT

  bool allows(const SocketRecord& socket) const;
};

// net/ipv4/tcp_tw_reuse. Mode is 0 when tcp_timestamps is 0, because reuse rests on them; absent
// when either file is missing: then nothing says that reuse is allowed. The age is
// tcp_tw_reuse_delay where the kernel has it (Linux 6.14), else 1000 ms (ip-sysctl.rst).
Answer<TimeWaitReuse> time_wait_reuse();

}  // namespace portpool::kernel
