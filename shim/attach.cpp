#include "shim/attach.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstring>

#include "portpool/handover.h"
#include "portpool/linux.h"
#include "shim/process.h"

namespace portpool::shim {
namespace {

constexpr std::uint64_t kNsPerMs = 1'000'000;
constexpr std::uint64_t kRetryNs = 1000 * kNsPerMs;

// Each segment size ever seen has a place of its own; one more than that and the process stays
// detached.
struct Place {
  void* base = nullptr;
  std::size_t size = 0;
  SegmentView view;
};
constexpr std::size_t kPlaces = 8;
// Set before any constructor of the process runs: ours may be the first.
constinit Place places[kPlaces]{};
std::size_t places_used;

std::atomic<const SegmentView*> current;
std::atomic<std::uint32_t> epoch;
std::atomic<std::uint32_t> detached_because{
    static_cast<std::uint32_t>(FallbackReason::k_no_daemon)};
std::atomic<std::uint64_t> next_attempt_ns;
std::atomic<std::uint64_t> last_beat;
std::atomic<std::uint64_t> last_beat_ns;
std::atomic<std::uint64_t> uncounted[kFallbackReasons];

// Own descriptors are opened and closed by system calls, past every interposed function.
class Descriptor {
 public:
  explicit Descriptor(long fd) : fd_(static_cast<int>(fd)) {}
  ~Descriptor() {
    if (fd_ >= 0) syscall(SYS_close, fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_;
};

NetworkNamespace namespace_of(const Descriptor& socket) {
  NetworkNamespace result;
  socklen_t length = sizeof result.cookie;
  if (getsockopt(socket.get(), SOL_SOCKET, SO_NETNS_COOKIE, &result.cookie, &length) != 0) {
    result.cookie = 0;
  }
  struct stat info;
  if (stat("/proc/thread-self/ns/net", &info) == 0) result.inode = info.st_ino;
  return result;
}

bool connect_to_daemon(const Descriptor& socket) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::size_t length = std::strlen(settings.socket_path);
  if (length >= sizeof address.sun_path) return false;
  std::memcpy(address.sun_path, settings.socket_path, length + 1);
  return syscall(SYS_connect, socket.get(), &address, sizeof address) == 0;
}

// Waits for the daemon's one message. Returns the segment's descriptor, or -1 when none came with
// it.
int receive_segment(const Descriptor& socket, HandoverMessage& message, bool& complete) {
  complete = false;
  const timespec timeout{0, kAttachTimeoutMs * 1'000'000L};
  pollfd ready{socket.get(), POLLIN, 0};
  if (syscall(SYS_ppoll, &ready, 1, &timeout, nullptr, 0) != 1) return -1;
  iovec part{&message, sizeof message};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  const long got = syscall(SYS_recvmsg, socket.get(), &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  complete = got == static_cast<long>(sizeof message);
  const cmsghdr* rights = CMSG_FIRSTHDR(&header);
  if (got < 0 || rights == nullptr || rights->cmsg_type != SCM_RIGHTS ||
      rights->cmsg_len != CMSG_LEN(sizeof(int))) {
    return -1;
  }
  int fd;
  std::memcpy(&fd, CMSG_DATA(rights), sizeof fd);
  return fd;
}

// A segment that somebody could truncate would kill us with SIGBUS: the seal must be there.
bool is_sealed(int fd, std::uint64_t size) {
  struct stat info;
  const long seals = syscall(SYS_fcntl, fd, F_GET_SEALS);
  return size >= sizeof(SegmentHeader) && seals >= 0 && (seals & F_SEAL_SHRINK) != 0 &&
         fstat(fd, &info) == 0 && static_cast<std::uint64_t>(info.st_size) >= size &&
         size <= SIZE_MAX / 2;
}

FallbackReason reason_for(SegmentCheck check) {
  switch (check) {
    case SegmentCheck::other_layout:
      return FallbackReason::k_layout_mismatch;
    case SegmentCheck::other_namespace:
      return FallbackReason::k_other_netns;
    default:
      return FallbackReason::k_segment_invalid;
  }
}

Place* place_for(std::size_t size) {
  for (std::size_t i = 0; i < places_used; ++i) {
    if (places[i].size == size) return &places[i];
  }
  if (places_used == kPlaces) return nullptr;
  Place& place = places[places_used];
  place.base = nullptr;
  place.size = size;
  return &place;
}

// Checks the segment at a provisional address, then moves it to its place. A place in use is
// replaced in one step (mremap), so that a thread in the middle of a call finds valid memory at
// every instant.
bool install(int fd, std::size_t size, const NetworkNamespace& here, FallbackReason& why) {
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) {
    why = FallbackReason::k_attach_failed;
    return false;
  }
  SegmentView view;
  SegmentCheck check = SegmentView::open(memory, size, view);
  if (check == SegmentCheck::ok && !view.network_namespace().same_as(here)) {
    check = SegmentCheck::other_namespace;
  }
  if (check != SegmentCheck::ok) {
    munmap(memory, size);
    why = reason_for(check);
    return false;
  }
  Place* place = place_for(size);
  if (place == nullptr) {
    munmap(memory, size);
    why = FallbackReason::k_attach_failed;
    return false;
  }
  if (place->base == nullptr) {
    place->base = memory;
    place->view = view;
    ++places_used;
  } else {
    // Sizes being equal, equal geometry is the rule; anything else would make old views lie.
    if (!view.same_geometry(place->view) ||
        mremap(memory, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, place->base) == MAP_FAILED) {
      munmap(memory, size);
      why = FallbackReason::k_attach_failed;
      return false;
    }
  }
  last_beat.store(0, std::memory_order_relaxed);
  last_beat_ns.store(now_ns(), std::memory_order_relaxed);
  epoch.fetch_add(1, std::memory_order_relaxed);
  current.store(&place->view, std::memory_order_release);
  return true;
}

void count_attachment(const SegmentView& view) {
  Shard& shard = view.shard(0);
  shard.counters[static_cast<std::size_t>(Counter::k_attaches)].fetch_add(
      1, std::memory_order_relaxed);
  for (std::size_t i = 0; i < kFallbackReasons; ++i) {
    const std::uint64_t missed = uncounted[i].exchange(0, std::memory_order_relaxed);
    if (missed != 0) shard.fallbacks[i].fetch_add(missed, std::memory_order_relaxed);
  }
}

bool attach(FallbackReason& why) {
  const Descriptor socket(
      syscall(SYS_socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) {
    why = FallbackReason::k_attach_failed;
    return false;
  }
  if (!connect_to_daemon(socket)) {
    why = errno == EACCES || errno == EPERM ? FallbackReason::k_attach_refused
                                            : FallbackReason::k_no_daemon;
    return false;
  }
  HandoverMessage message{};
  bool complete = false;
  const Descriptor segment(receive_segment(socket, message, complete));
  if (!complete) {
    why = FallbackReason::k_attach_timeout;
    return false;
  }
  if (message.magic != kMagic) {
    why = FallbackReason::k_segment_invalid;
  } else if (message.layout_major != kLayoutMajor) {
    why = FallbackReason::k_layout_mismatch;
  } else if (message.answer == Handover::refused_netns) {
    why = FallbackReason::k_other_netns;
  } else if (message.answer != Handover::granted) {
    why = FallbackReason::k_attach_refused;
  } else if (!segment) {
    why = FallbackReason::k_attach_failed;  // granted, but our descriptor table is full
  } else if (!is_sealed(segment.get(), message.segment_size)) {
    why = FallbackReason::k_segment_invalid;
  } else {
    return install(segment.get(), static_cast<std::size_t>(message.segment_size),
                   namespace_of(socket), why);
  }
  return false;
}

bool attach_and_report() {
  const ErrnoKeeper keep;
  FallbackReason why = FallbackReason::k_no_daemon;
  if (attach(why)) {
    count_attachment(*current.load(std::memory_order_relaxed));
    say("attached to ", settings.socket_path);
    return true;
  }
  detached_because.store(static_cast<std::uint32_t>(why), std::memory_order_relaxed);
  say("on the kernel's path: ", kFallbackTexts[static_cast<std::size_t>(why)].sentence.data());
  return false;
}

// True for the one caller whose turn it is.
bool take_turn(std::uint64_t now) {
  std::uint64_t due = next_attempt_ns.load(std::memory_order_relaxed);
  return now >= due &&
         next_attempt_ns.compare_exchange_strong(due, now + kRetryNs, std::memory_order_acq_rel);
}

}  // namespace

void attach_at_start() {
  next_attempt_ns.store(now_ns() + kRetryNs, std::memory_order_relaxed);
  attach_and_report();
}

const SegmentView* mapped_segment() { return current.load(std::memory_order_acquire); }

std::uint16_t attach_epoch() {
  return static_cast<std::uint16_t>(epoch.load(std::memory_order_relaxed));
}

bool heartbeat_moves(const SegmentView& view, std::uint64_t now) {
  const std::uint64_t beat = view.header().heartbeat.load(std::memory_order_relaxed);
  if (beat != last_beat.load(std::memory_order_relaxed)) {
    last_beat.store(beat, std::memory_order_relaxed);
    last_beat_ns.store(now, std::memory_order_relaxed);
    return true;
  }
  // Another thread may have stored a moment later than our `now`.
  const std::uint64_t since = last_beat_ns.load(std::memory_order_relaxed);
  return now < since + kHeartbeatStaleMs * kNsPerMs;
}

const SegmentView* live_segment(std::uint64_t now, FallbackReason& why) {
  const SegmentView* view = mapped_segment();
  const bool stopped =
      view != nullptr && view->header().stopped.load(std::memory_order_relaxed) != 0;
  if (view != nullptr && !stopped && heartbeat_moves(*view, now)) return view;
  if (take_turn(now) && attach_and_report()) return mapped_segment();
  why = view != nullptr
            ? FallbackReason::k_stale_heartbeat
            : static_cast<FallbackReason>(detached_because.load(std::memory_order_relaxed));
  return nullptr;
}

void count_without_segment(FallbackReason why) {
  const auto index = static_cast<std::size_t>(why);
  if (index < kFallbackReasons) uncounted[index].fetch_add(1, std::memory_order_relaxed);
}

}  // namespace portpool::shim
