// Reads one buffer of a sock_diag answer. A pure function of its input, kept apart from the socket
// so that damaged and rare answers can be tested.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernel/socket_record.h"

namespace portpool::kernel {

struct ParsedBuffer {
  bool done = false;         // the answer ends here: NLMSG_DONE, or `error` is set
  bool interrupted = false;  // NLM_F_DUMP_INTR on any message
  int error = 0;             // errno from the kernel; EBADMSG: the buffer is damaged
  std::uint64_t records = 0;
};

// Calls `visit` for each socket in the `size` bytes at `data`; messages of another sequence number
// (rests of an abandoned answer) are passed over. Stops at the first error, having visited what
// came before it. `tcp_info`: SocketRecord::timestamps is looked for, which takes time for each
// socket.
ParsedBuffer parse_sock_diag(const void* data, std::size_t size, std::uint32_t sequence,
                             RecordVisitor visit, bool tcp_info = false);

}  // namespace portpool::kernel
