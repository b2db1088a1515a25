// libpatience.so, preloaded before libportpool.so: a connect() waits, half a second at most, until
// poold has answered whether there is a lane for it.
//
// In other projects' suites nearly each test connects to a port of its own: a first connection,
// which goes by the kernel while poold makes the lane. So the suites would hardly test the pool.
// With this before it the library that is tested is the one that is installed, to the byte.
#include <dlfcn.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "portpool/handover.h"
#include "portpool/linux.h"
#include "portpool/segment.h"
#include "portpool/system_call.h"

namespace {

using namespace portpool;

constexpr int kTurns = 500;
constexpr timespec kTurn{0, 1'000'000};

SegmentView view;
bool attached;

void* map(int fd, std::size_t size, int protection) {
  void* memory = map_memory(size, protection, MAP_SHARED, fd);
  return memory != MAP_FAILED ? memory : nullptr;
}

// The hints as far as lanes and trace begin: more is not read here.
bool open_segment(const HandoverMessage& message, int structure_fd, int hints_fd) {
  void* structure = map(structure_fd, message.structure_size, PROT_READ);
  void* hints = map(hints_fd, sizeof(HintsHeader), PROT_READ | PROT_WRITE);
  if (structure == nullptr || hints == nullptr) return false;
  SegmentView look;
  if (SegmentView::open(structure, message.structure_size, hints, message.hints_size, look) !=
      SegmentCheck::ok) {
    return false;
  }
  hints = map(hints_fd, look.common_hints_size(), PROT_READ | PROT_WRITE);
  return hints != nullptr && SegmentView::open(structure, message.structure_size, hints,
                                               message.hints_size, view) == SegmentCheck::ok;
}

bool receive_segment(int socket) {
  HandoverMessage message;
  iovec part{&message, sizeof message};
  alignas(cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))];
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  if (system_call(SYS_recvmsg, socket, &header, MSG_CMSG_CLOEXEC) != sizeof message) return false;
  const cmsghdr* rights = CMSG_FIRSTHDR(&header);
  if (message.answer != Handover::granted || rights == nullptr ||
      rights->cmsg_len != CMSG_LEN(2 * sizeof(int))) {
    return false;
  }
  int files[2];
  std::memcpy(files, CMSG_DATA(rights), sizeof files);
  const bool opened = open_segment(message, files[0], files[1]);
  for (const int fd : files) system_call(SYS_close, fd);
  return opened;
}

__attribute__((constructor)) void attach() {
  const int errno_before = errno;
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  const char* path = std::getenv("PORTPOOL_SOCKET");
  if (path == nullptr) return;
  std::strncpy(name.sun_path, path, sizeof name.sun_path - 1);
  const auto socket =
      static_cast<int>(system_call(SYS_socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  attached = system_call(SYS_connect, socket, &name, sizeof name) == 0 && receive_segment(socket);
  if (socket >= 0) system_call(SYS_close, socket);
  errno = errno_before;
}

template <class Value>
Value option_of(int fd, int name) {
  Value value{};
  socklen_t length = sizeof value;
  system_call(SYS_getsockopt, fd, SOL_SOCKET, name, &value, &length);
  return value;
}

// A wild pointer is none of ours either: the kernel copies, and says so.
bool read_destination(const sockaddr* address, socklen_t length, Endpoint& out) {
  sockaddr_storage copy;
  if (length > sizeof copy) return false;
  const iovec here{&copy, length};
  const iovec there{const_cast<sockaddr*>(address), length};
  return system_call(SYS_process_vm_readv, system_call(SYS_getpid), &here, 1, &there, 1, 0) ==
             static_cast<long>(length) &&
         endpoint_from_sockaddr(reinterpret_cast<const sockaddr*>(&copy), length, out);
}

// What libportpool.so will ask for: key_of() in shim/question.cpp. False: it will ask for nothing.
bool key_of(int fd, const sockaddr* address, socklen_t length, LaneKey& key) {
  Endpoint destination;
  Endpoint own;
  sockaddr_storage name;
  socklen_t name_length = sizeof name;
  if (!read_destination(address, length, destination) || destination.port == 0 ||
      option_of<int>(fd, SO_TYPE) != SOCK_STREAM ||
      option_of<std::uint64_t>(fd, SO_NETNS_COOKIE) != view.network_namespace().cookie ||
      system_call(SYS_getsockname, fd, &name, &name_length) != 0 ||
      !endpoint_from_sockaddr(reinterpret_cast<const sockaddr*>(&name), name_length, own) ||
      own.port != 0) {
    return false;
  }
  key = {is_unspecified(own.address) ? Address{} : own.address, destination.address,
         destination.port};
  if (is_unspecified(key.destination)) key.destination = loopback_like(key.destination);
  return !is_link_local_v6(key.destination);
}

// As request_lane() in shim/lanes.cpp.
void request(const LaneKey& key) {
  RequestSlot& slot = view.request(static_cast<std::uint32_t>(hash_of(key)) % view.request_count());
  auto state = static_cast<std::uint32_t>(RequestState::empty);
  if (!slot.state.compare_exchange_strong(state, static_cast<std::uint32_t>(RequestState::writing),
                                          std::memory_order_acquire)) {
    return;
  }
  store_key(slot.key, key);
  slot.state.store(static_cast<std::uint32_t>(RequestState::ready), std::memory_order_release);
  view.hints().doorbell.fetch_add(1, std::memory_order_release);
  system_call(SYS_futex, &view.hints().doorbell, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

// Asks at every turn: poold may make a lane only for what is asked for more than once.
void wait_for_lanes(const LaneKey& key) {
  LaneChoice choice;
  for (int turn = 0; turn < kTurns && !find_lanes(view, key, choice); ++turn) {
    request(key);
    system_call(SYS_nanosleep, &kTurn, nullptr);
  }
}

}  // namespace

extern "C" int connect(int fd, const sockaddr* address, socklen_t length) {
  static const auto next = reinterpret_cast<decltype(&connect)>(dlsym(RTLD_NEXT, "connect"));
  const int errno_before = errno;
  LaneKey key;
  if (attached && key_of(fd, address, length, key)) wait_for_lanes(key);
  errno = errno_before;
  return next(fd, address, length);
}
