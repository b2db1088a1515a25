// How poold's netlink sockets fail (libraries/failing_netlink.cpp).
#pragma once

#include <atomic>
#include <cstdint>

namespace portpool::test {

enum class NetlinkFault : char {
  none,
  no_socket,    // there is none to be had: ENOBUFS
  no_question,  // what is asked cannot be sent: ENOBUFS
  lost,         // each answer: ENOBUFS, as when the receive buffer has overflown
  cut,          // of a dump the beginning comes, and then nothing: EAGAIN
  interrupted,  // the table has changed in the meantime: NLM_F_DUMP_INTR
  garbage,      // answers that nobody can read
};

// The file by which test and library speak.
struct NetlinkOrders {
  std::atomic<NetlinkFault> fault{NetlinkFault::none};
  std::atomic<std::uint32_t> met{0};  // calls that failed by it
};

}  // namespace portpool::test
