#include "shim/attach.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstring>

#include "portpool/crash_point.h"
#include "portpool/handover.h"
#include "portpool/linux.h"
#include "portpool/memory_file.h"
#include "portpool/system_call.h"
#include "shim/mapping.h"
#include "shim/own_descriptor.h"
#include "shim/parts.h"
#include "shim/process.h"

namespace portpool::shim {
namespace {

constexpr std::uint64_t kNsPerMs = 1'000'000;
constexpr std::uint64_t kRetryNs = 1000 * kNsPerMs;
// After kReplaced, when the next segment is there to be had: this, and twice as much with each
// attempt that failed all the same.
constexpr std::uint64_t kQuickRetryNs = 100 * kNsPerMs;

// Each pair of sizes ever seen has a place of its own; one more than that and the process stays
// detached.
struct Place {
  Mapping structure;
  Mapping hints;  // the beginning, or all where that cannot be told apart
  std::size_t hints_file_size = 0;
  SegmentView view;
  Parts parts;
};
constexpr std::size_t kPlaces = 8;
// Set before any constructor of the process runs: ours may be the first.
constinit Place places[kPlaces]{};
std::size_t places_used;

std::atomic<const SegmentView*> current;
std::atomic<std::uint32_t> strategy;
std::atomic<std::uint32_t> detached_because{
    static_cast<std::uint32_t>(FallbackReason::k_no_daemon)};
std::atomic<std::uint64_t> last_attempt_ns;
std::atomic<std::uint32_t> quick_attempts;  // since the mapped segment was attached
std::atomic<std::uint64_t> last_beat;
std::atomic<std::uint64_t> last_beat_ns;
std::atomic<std::uint64_t> uncounted[kFallbackReasons];

// Of the socket, as far as it takes to compare it with `theirs`: looking into /proc is slow.
NetworkNamespace namespace_of(const OwnDescriptor& socket, const NetworkNamespace& theirs) {
  NetworkNamespace result;
  socklen_t length = sizeof result.cookie;
  if (system_call(SYS_getsockopt, socket.get(), SOL_SOCKET, SO_NETNS_COOKIE, &result.cookie,
                  &length) != 0) {
    result.cookie = 0;
  }
  KernelStat info;
  if ((result.cookie == 0 || theirs.cookie == 0) &&
      kernel_stat("/proc/thread-self/ns/net", info) == 0) {
    result.inode = info.st_ino;
  }
  return result;
}

// By system calls: of stat() and clock_gettime() another library may tell a time of its own.
bool is_worth_a_try(FallbackReason& why) {
  KernelStat info{};
  timespec now{};
  if (kernel_stat(settings.socket_path, info) != 0) {
    why = FallbackReason::k_no_daemon;
    return errno != ENOENT;
  }
  why = FallbackReason::k_attach_timeout;
  return !S_ISSOCK(info.st_mode) || system_call(SYS_clock_gettime, CLOCK_REALTIME, &now) != 0 ||
         !is_touched(info.st_mtim, now);
}

// For those who come after us (portpool/handover.h).
void note_wait(std::uint64_t deadline) {
  const ErrnoKeeper keep;
  if (now_ns() >= deadline) {
    system_call(SYS_utimensat, AT_FDCWD, settings.socket_path, nullptr, 0);
  }
}

// When the queue of those who wait to be accepted is full, waits for a place in it, behind those
// who wait already; at most until `deadline`.
bool connect_when_there_is_room(const OwnDescriptor& socket, const sockaddr_un& address,
                                std::uint64_t deadline) {
  system_call(SYS_fcntl, socket.get(), F_SETFL, 0);
  for (std::uint64_t now = now_ns(); now < deadline; now = now_ns()) {
    const timeval rest{0, static_cast<suseconds_t>((deadline - now) / 1000 + 1)};
    system_call(SYS_setsockopt, socket.get(), SOL_SOCKET, SO_SNDTIMEO, &rest, sizeof rest);
    if (system_call(SYS_connect, socket.get(), &address, sizeof address) == 0) return true;
    if (errno != EINTR) break;
  }
  note_wait(deadline);
  return false;
}

bool connect_to_daemon(const OwnDescriptor& socket, std::uint64_t deadline) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::size_t length = std::strlen(settings.socket_path);
  if (length >= sizeof address.sun_path) return false;
  std::memcpy(address.sun_path, settings.socket_path, length + 1);
  if (system_call(SYS_connect, socket.get(), &address, sizeof address) == 0) return true;
  return errno == EAGAIN && connect_when_there_is_room(socket, address, deadline);
}

// What the daemon sent: its one message and the descriptors that came with it.
struct Answer {
  HandoverMessage message{};
  long bytes = -1;
  bool descriptors_lost = false;  // our table is full
  std::size_t descriptors = 0;
  OwnDescriptor structure;
  OwnDescriptor hints;
};

// Every descriptor that the kernel has put into our table: what is not wanted is closed.
void take_descriptors(msghdr& header, Answer& answer) {
  for (cmsghdr* part = CMSG_FIRSTHDR(&header); part != nullptr; part = CMSG_NXTHDR(&header, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
      switch (answer.descriptors++) {
        case 0:
          answer.structure.take(fd);
          break;
        case 1:
          answer.hints.take(fd);
          break;
        default:
          system_call(SYS_close, fd);
      }
    }
  }
}

void receive_answer(const OwnDescriptor& socket, Answer& answer, std::uint64_t deadline) {
  constexpr std::size_t kMostDescriptors = 253;  // SCM_MAX_FD, unix(7)
  const std::uint64_t now = now_ns();
  const timespec timeout{0, now < deadline ? static_cast<long>(deadline - now) : 0};
  pollfd ready{socket.get(), POLLIN, 0};
  if (system_call(SYS_ppoll, &ready, 1, &timeout, nullptr, 0) != 1) return note_wait(deadline);
  const Opening opening;
  if (!opening) return;
  iovec part{&answer.message, sizeof answer.message};
  alignas(cmsghdr) char control[CMSG_SPACE(kMostDescriptors * sizeof(int))];
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  answer.bytes = system_call(SYS_recvmsg, socket.get(), &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  if (answer.bytes < 0) return;
  answer.descriptors_lost = (header.msg_flags & MSG_CTRUNC) != 0;
  take_descriptors(header, answer);
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

// Of both files the beginning is mapped, as far as everybody needs it.
struct Candidate {
  Mapping structure;
  Mapping hints;
  std::size_t structure_file_size;
  std::size_t hints_file_size;
  SegmentView view;

  // Lanes and trace are mapped in parts, the structure's history never.
  // False: it cannot be mapped.
  bool open(int structure_fd, int hints_fd, SegmentCheck& check) {
    constexpr std::size_t kPage = 4096;
    structure.size = structure_file_size < kPage ? structure_file_size : kPage;
    if (!structure.map(structure_fd, PROT_READ)) return false;
    // What the header says decides how much it is; nothing is read from the hints themselves.
    check = look(structure.base);
    if (check != SegmentCheck::ok) return true;
    if (!structure.resize(structure_needed())) return false;
    hints.size = hints_needed();
    if (!hints.map(hints_fd, PROT_READ | PROT_WRITE)) return false;
    check = look(hints.base);
    if (check == SegmentCheck::ok &&
        (structure.size != structure_needed() || hints.size != hints_needed())) {
      check = SegmentCheck::bad_geometry;  // another header than a moment ago
    }
    return true;
  }
  std::size_t structure_needed() const {
    const std::size_t common = view.common_structure_size();
    return common != 0 ? common : structure_file_size;
  }
  std::size_t hints_needed() const {
    const std::size_t common = view.common_hints_size();
    return common != 0 ? common : hints_file_size;
  }
  SegmentCheck look(void* hints_at) {
    return SegmentView::open(structure.base, structure_file_size, hints_at, hints_file_size, view);
  }
};

Place* place_for(const Candidate& candidate) {
  for (std::size_t i = 0; i < places_used; ++i) {
    if (places[i].structure.size == candidate.structure.size &&
        places[i].hints_file_size == candidate.hints_file_size) {
      return &places[i];
    }
  }
  return places_used < kPlaces ? &places[places_used] : nullptr;
}

bool take_place(Place& place, Candidate& candidate) {
  if (candidate.hints.size < candidate.hints_file_size) {
    if (!place.parts.start(candidate.view, candidate.hints)) return false;
    candidate.view.use_parts(place.parts);
  }
  place.structure = candidate.structure;
  place.hints = candidate.hints;
  place.hints_file_size = candidate.hints_file_size;
  place.view = candidate.view;
  ++places_used;
  candidate.structure.base = candidate.hints.base = nullptr;
  return true;
}

// Sizes being equal, equal geometry is the rule; anything else would make old views lie.
bool move_over(Place& place, Candidate& candidate) {
  if (!candidate.view.same_geometry(place.view) ||
      !candidate.structure.move_over(place.structure) || !candidate.hints.move_over(place.hints)) {
    return false;
  }
  if (place.parts.at != nullptr) place.parts.renew();
  return true;
}

// Puts both into their place, over what stands there.
bool settle(Candidate& candidate) {
  Place* place = place_for(candidate);
  if (place == nullptr) return false;
  const bool settled = place->structure.base == nullptr ? take_place(*place, candidate)
                                                        : move_over(*place, candidate);
  if (!settled) return false;
  strategy.store(
      static_cast<std::uint32_t>(
          Control::unpack(place->view.header().control.load(std::memory_order_relaxed)).strategy),
      std::memory_order_relaxed);
  quick_attempts.store(0, std::memory_order_relaxed);
  last_beat.store(0, std::memory_order_relaxed);
  last_beat_ns.store(now_ns(), std::memory_order_relaxed);
  make_secret();
  current.store(&place->view, std::memory_order_release);
  return true;
}

bool is_elsewhere(const SegmentView& view, const OwnDescriptor& socket) {
  const NetworkNamespace theirs = view.network_namespace();
  return !theirs.same_as(namespace_of(socket, theirs));
}

// Checks the segment at provisional addresses, then moves it to its place.
bool install(const Answer& answer, const OwnDescriptor& socket, FallbackReason& why) {
  Candidate candidate{{},
                      {},
                      static_cast<std::size_t>(answer.message.structure_size),
                      static_cast<std::size_t>(answer.message.hints_size),
                      {}};
  bool done = false;
  why = FallbackReason::k_attach_failed;
  SegmentCheck check = SegmentCheck::ok;
  if (candidate.open(answer.structure.get(), answer.hints.get(), check)) {
    if (check == SegmentCheck::ok && is_elsewhere(candidate.view, socket)) {
      check = SegmentCheck::other_namespace;
    }
    if (check != SegmentCheck::ok) why = reason_for(check);
    PORTPOOL_CRASH_POINT(in_attach);
    done = check == SegmentCheck::ok && settle(candidate);
  }
  candidate.structure.unmap();
  candidate.hints.unmap();
  return done;
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
  if (!is_worth_a_try(why)) return false;
  OwnDescriptor socket;
  socket.open_socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (!socket) {
    why = FallbackReason::k_attach_failed;
    return false;
  }
  // For all of it together.
  const std::uint64_t deadline = now_ns() + kAttachTimeoutMs * kNsPerMs;
  if (!connect_to_daemon(socket, deadline)) {
    why = errno == EACCES || errno == EPERM ? FallbackReason::k_attach_refused
                                            : FallbackReason::k_no_daemon;
    return false;
  }
  system_call(SYS_shutdown, socket.get(), SHUT_WR);
  Answer answer;
  receive_answer(socket, answer, deadline);
  const HandoverMessage& message = answer.message;
  // A daemon of another layout may send another length; the beginning of its message is the same.
  constexpr long kBeginning = offsetof(HandoverMessage, answer);
  if (answer.bytes < kBeginning) {
    why = FallbackReason::k_attach_timeout;
  } else if (message.magic != kMagic) {
    why = FallbackReason::k_segment_invalid;
  } else if (message.layout_major != kLayoutMajor) {
    why = FallbackReason::k_layout_mismatch;
  } else if (answer.bytes != static_cast<long>(sizeof message)) {
    why = FallbackReason::k_attach_timeout;
  } else if (message.answer == Handover::refused_netns) {
    why = FallbackReason::k_other_netns;
  } else if (message.answer != Handover::granted) {
    why = FallbackReason::k_attach_refused;
  } else if (answer.descriptors_lost) {
    why = FallbackReason::k_attach_failed;
  } else if (answer.descriptors != 2 ||
             !is_memory_file(answer.structure.get(), message.structure_size) ||
             !is_memory_file(answer.hints.get(), message.hints_size)) {
    why = FallbackReason::k_segment_invalid;
  } else {
    return install(answer, socket, why);
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

// 1000 ms, or less where `stopped` says so.
std::uint64_t pause_before_attempt(std::uint32_t stopped) {
  if (stopped != kReplaced) return kRetryNs;
  const std::uint32_t attempts = quick_attempts.load(std::memory_order_relaxed);
  if (attempts == 0) return 0;
  return attempts < 4 ? kQuickRetryNs << (attempts - 1) : kRetryNs;
}

// True for the one caller whose turn it is.
bool take_turn(std::uint64_t now, std::uint32_t stopped) {
  std::uint64_t last = last_attempt_ns.load(std::memory_order_relaxed);
  if (now < last + pause_before_attempt(stopped) ||
      !last_attempt_ns.compare_exchange_strong(last, now, std::memory_order_acq_rel)) {
    return false;
  }
  if (stopped == kReplaced) quick_attempts.fetch_add(1, std::memory_order_relaxed);
  return true;
}

}  // namespace

void attach_at_start() {
  last_attempt_ns.store(now_ns(), std::memory_order_relaxed);
  attach_and_report();
}

const SegmentView* mapped_segment() { return current.load(std::memory_order_acquire); }

Strategy attached_strategy() {
  return static_cast<Strategy>(strategy.load(std::memory_order_relaxed));
}

bool heartbeat_moves(const SegmentView& view, std::uint64_t now) {
  const std::uint64_t beat = view.header().heartbeat.load(std::memory_order_relaxed);
  // Whoever sees a beat here sees its time, too: after a pause the old one is long ago.
  if (beat != last_beat.load(std::memory_order_acquire)) {
    last_beat_ns.store(now, std::memory_order_relaxed);
    last_beat.store(beat, std::memory_order_release);
    return true;
  }
  // Another thread may have stored a moment later than our `now`.
  const std::uint64_t since = last_beat_ns.load(std::memory_order_relaxed);
  return now < since + kHeartbeatStaleMs * kNsPerMs;
}

const SegmentView* live_segment(std::uint64_t now, FallbackReason& why) {
  const SegmentView* view = mapped_segment();
  const std::uint32_t stopped =
      view != nullptr ? view->header().stopped.load(std::memory_order_relaxed) : 0;
  if (view != nullptr && stopped == 0 && heartbeat_moves(*view, now)) return view;
  if (take_turn(now, stopped) && attach_and_report()) return mapped_segment();
  why = view != nullptr
            ? FallbackReason::k_stale_heartbeat
            : static_cast<FallbackReason>(detached_because.load(std::memory_order_relaxed));
  return nullptr;
}

void unlock_segment() {
  const ErrnoKeeper keep;
  for (std::size_t i = 0; i < places_used; ++i) {
    const Place& place = places[i];
    unlock(place.structure.base, place.structure.size);
    unlock(place.hints.base, place.hints.size);
    if (place.parts.at != nullptr) place.parts.unlock_all();
  }
}

void count_without_segment(FallbackReason why) {
  const auto index = static_cast<std::size_t>(why);
  if (index < kFallbackReasons) uncounted[index].fetch_add(1, std::memory_order_relaxed);
}

}  // namespace portpool::shim
