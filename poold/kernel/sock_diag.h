// The kernel's TCP socket table, by NETLINK_SOCK_DIAG (sock_diag(7)). Needs no privilege.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "kernel/socket_record.h"

struct mnl_socket;

namespace portpool::kernel {

struct DumpFilter {
  std::uint32_t states = kAllStates;   // one bit per state, see state_bit()
  std::uint16_t source_port = 0;       // host order; 0: any
  std::uint16_t destination_port = 0;  // host order; 0: any. Not 0 leaves out listeners and bound
                                       // sockets.
  bool v4 = true;                      // AF_INET sockets
  bool v6 = true;                      // AF_INET6 sockets, those with IPv4 addresses included
  // The sockets toward these are visited, and not many others: what the kernel's filter can leave
  // out it does leave out (socket_filter.h). Empty: all. To stay valid for the call. Leaves out
  // listeners and bound sockets.
  std::span<const Endpoint> destinations = {};
  // Fills in SocketRecord::timestamps. The kernel's answer is several times as long then.
  bool tcp_info = false;
};

struct DumpResult {
  // False: interrupted, overrun or failed half-way; a socket that was not seen may exist all the
  // same. Even when true the table is no snapshot: the kernel releases its locks between two
  // messages, so that a socket may be seen twice or, rarely, not at all while its hash chain
  // changes.
  bool complete = false;
  int error = 0;  // errno; 0 with complete == false: interrupted (NLM_F_DUMP_INTR)
  std::uint64_t records = 0;
};

// One netlink socket with its buffer, to be used over and over by one thread at a time. It speaks
// of the network namespace in which it was made, also after setns().
class SockDiag {
 public:
  // Throws std::system_error; also where the kernel has no tcp_diag, without which every socket
  // would seem absent.
  SockDiag();
  ~SockDiag();
  SockDiag(SockDiag&&) noexcept;
  SockDiag& operator=(SockDiag&&) noexcept;

  // Calls `visit` for every socket that passes `filter`, in no particular order. What `visit`
  // throws passes through.
  DumpResult dump(const DumpFilter& filter, RecordVisitor visit);

  // The socket of exactly this 4-tuple, TIME_WAIT included, in a few microseconds. nullopt: there
  // is none, or it is bound to a device (SO_BINDTODEVICE), or (IPv6) the addresses are link-local.
  // Throws std::system_error when the kernel did not answer, for then nothing is known.
  std::optional<SocketRecord> find(const Endpoint& local, const Endpoint& remote);

  // Whether dump() shows bound sockets (state kTcpBoundInactive) here: tried with a socket of our
  // own. False: their number is unknown, not 0.
  bool lists_bound_inactive();

 private:
  struct Close {
    void operator()(mnl_socket* socket) const;
  };

  using Program = std::span<const std::byte>;  // of the kernel's filter; empty: none

  DumpResult dump_family(int family, const DumpFilter& filter, Program program,
                         const RecordVisitor& visit);
  int request(std::uint16_t type, std::uint16_t flags, std::span<const std::byte> body,
              Program program = {});
  DumpResult receive(bool dump, const RecordVisitor& visit, bool tcp_info = false);
  void drain();

  std::unique_ptr<mnl_socket, Close> socket_;
  std::unique_ptr<std::byte[]> buffer_;
  std::uint32_t sequence_ = 0;
  bool pending_ = false;        // the last answer was not read to its end
  bool takes_programs_ = true;  // no kernel has refused one yet
};

}  // namespace portpool::kernel
