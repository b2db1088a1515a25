// What is known of each descriptor: one word per fd, in a table outside the heap.
//
// The table is a memory of what passed through our functions. It can be out of date (a descriptor
// closed by a raw system call, an fd table copied by vfork); everything done with it must be
// harmless then.
#pragma once

#include <atomic>
#include <cstdint>

#include "portpool/endpoint.h"
#include "portpool/structure.h"

namespace portpool::shim {

enum class SocketKind : std::uint16_t { unknown = 0, tcp = 1, other = 2 };

// One word, so that a descriptor's state is read and written in one step.
struct SocketState {
  SocketKind kind : 2 = SocketKind::unknown;
  bool nonblocking : 1 = false;
  bool deferred : 1 = false;        // bind(address, 0) of the program took no port (our doing)
  bool own_port : 1 = false;        // the program bound a port
  bool own_no_port : 1 = false;     // the program itself set IP_BIND_ADDRESS_NO_PORT
  bool own_range : 1 = false;       // the program itself set IP_LOCAL_PORT_RANGE
  bool has_source : 1 = false;      // bound to an address, with the port left open
  bool reset_on_close : 1 = false;  // SO_LINGER with 0 s: close() sends RST, the port is free
  bool started : 1 = false;         // connecting or connected
  bool pinned : 1 = false;          // holds `port` of `lane`
  bool foreign : 1 = false;         // of another network namespace than the segment
  bool stuck : 1 = false;           // keeps that port until it is closed (bind strategy)
  // Has been bound to an address that the pool chose: the kernel keeps an address from then on
  // (SOCK_BINDADDR_LOCK), until it is unbound.
  bool pool_source : 1 = false;
  bool own_reuse : 1 = false;  // the program itself set SO_REUSEADDR
  // The program chose mark or device (SO_MARK, SO_BINDTODEVICE and their like): the kernel's route,
  // and so the source address, may be another than poold was told. It is asked for (route.h).
  bool own_route : 1 = false;
  std::uint16_t port = 0;
  std::uint32_t lane = 0;  // LaneRef::pack()

  LaneRef lane_ref() const { return LaneRef::unpack(lane); }
  // The program was told `port`, which no socket has on its account yet (promise.h).
  bool is_promised() const { return deferred && !started && !pinned && port != 0; }
  bool holds_port() const { return pinned || is_promised(); }
  void forget_port() {
    pinned = false;
    port = 0;
    lane = 0;
  }
};
static_assert(sizeof(SocketState) == sizeof(std::uint64_t));

// Each part of the table is mapped when a socket of it is first recorded (socket_table.cpp): most
// programs have none. What cannot be mapped (address space limit) stays unknown. This maps the part
// with the low numbers now, before memory is locked or system calls are over.
void start_socket_table();

// fds outside the table (1,048,576 and above): unknown, and not stored.
SocketState socket_state(int fd);
void set_socket_state(int fd, SocketState state);
// Reads and forgets in one step, so that of two closers one gives the port back.
SocketState take_socket_state(int fd);
// Costs as much as there is recorded, not as the range is long: where nothing is recorded it
// touches a byte for every 64 descriptors, and nothing where no descriptor was ever recorded.
void forget_sockets(unsigned first, unsigned last);

// The descriptor, of those that are recorded, to whose socket that port was promised; -1: none.
int find_promise(std::uint16_t port);
// Calls `visit` for each descriptor that something is known of.
void visit_sockets(void (*visit)(int fd, SocketState state));

// From now on nothing is recorded, and every descriptor is unknown: threads have tables of
// descriptors of their own (CLONE_FILES of unshare(2)), and a number means several things. For
// good.
void close_socket_table();

// IP_LOCAL_PORT_RANGE of a socket whose bind was deferred: the whole range, which narrows nothing.
// It lets the deferral be known on descriptors that came by dup, exec or SCM_RIGHTS. When a port
// has been promised it is that one instead, so that whoever makes the kernel choose (listen(2),
// io_uring, a raw system call) gets it.
inline constexpr std::uint32_t kDeferredMark = 0xFFFF0001U;

// The program narrows the range of sockets to one port itself: such a range on a descriptor that we
// do not know is then taken for its own. Set for good.
extern bool one_port_ranges_are_own;

// Learns what it can of a descriptor that did not come from our socket(): some system calls. Kind
// stays `unknown` when it is no socket. netns_cookie is the segment's; 0: not compared. Takes away
// a pin of ours that an earlier attempt, through another descriptor of the socket, has left.
SocketState examine_socket(int fd, std::uint64_t netns_cookie);

// The kernel says that it is a TCP socket, or may not be asked (seccomp). One system call, before a
// socket is changed for what the table says, since the number may have been closed unseen (by
// io_uring, a raw system call) and be another socket's by now.
bool is_tcp(int fd);

// What socket() returned last, in whatever thread.
extern std::atomic<int> newest_socket;

// IP_LOCAL_PORT_RANGE (Linux 6.3), 0: none, or it cannot be read. One system call.
std::uint32_t port_range_of(int fd);
// False on kernels without the option, and where it is refused (seccomp).
bool set_port_range(int fd, std::uint32_t range);
// The socket's IP_LOCAL_PORT_RANGE is `range`, or cannot be read. One system call.
bool has_range(int fd, std::uint32_t range);

// The kernel says that it is a TCP socket that neither connects nor is connected: of an attempt
// that had our pin nothing is left but that. Two system calls; changes nothing.
bool is_closed_tcp(int fd);

// What getsockname() says.
struct OwnAddress {
  sockaddr_storage raw{};
  socklen_t length = sizeof raw;
  Endpoint endpoint;  // the same, decoded
};
// False when it cannot be read, or is neither AF_INET nor AF_INET6.
bool own_address(int fd, OwnAddress& out);

// The socket has mark or device, whoever gave it them: two system calls.
bool has_own_route(int fd);

}  // namespace portpool::shim
