// Memory order: sequentially consistent where fork() and Opening look at each other: of the two, at
// least one sees the other. A slot is written within an Opening alone, which no fork() overlaps.
#include "shim/own_descriptor.h"

#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <atomic>
#include <iterator>

#include "portpool/system_call.h"
#include "shim/process.h"

// The first is glibc's, whose pthread_atfork() is part of each program; the second is musl's.
extern "C" {
// NOLINTNEXTLINE(readability-identifier-naming): glibc's name
int __register_atfork(void (*prepare)(), void (*parent)(), void (*child)(), void* library)
    __attribute__((weak));
int pthread_atfork(void (*prepare)(), void (*parent)(), void (*child)()) noexcept
    __attribute__((weak));
}

namespace portpool::shim {
namespace {

// Each waits for the other this often at first, and then as many milliseconds: whom it waits for
// may have lost its CPU on a busy machine.
constexpr int kTurns = 100;
constexpr int kNapsOfFork = 1000;
constexpr int kNapsOfOpening = 50;

// One attempt to attach has three, each thread that asks for a 4-tuple or a route one. A slot stays
// as it is when its descriptor is closed, until its turn comes again: the kernel copies a parent's
// descriptors first and its memory later, and what was closed between the two is open in the child.
struct Slot {
  std::atomic<int> fd{-1};
  std::atomic<decltype(KernelStat::st_dev)> device;
  std::atomic<decltype(KernelStat::st_ino)> inode;
  std::atomic<pthread_t> thread;
};
constinit Slot slots[16];
std::atomic<unsigned> next_slot;

std::atomic<int> opening;
std::atomic<pthread_t> last_to_open;
std::atomic<int> forking;

void give_way(int turn) {
  if (turn < kTurns) {
    system_call(SYS_sched_yield);
  } else {
    timespec nap{0, 1'000'000};  // the kernel writes what is left of it
    system_call(SYS_ppoll, nullptr, 0, &nap, nullptr, 0);
  }
}

void before_fork() {
  const ErrnoKeeper keep;
  forking.fetch_add(1, std::memory_order_seq_cst);
  for (int turn = 0; turn < kTurns + kNapsOfFork; ++turn) {
    if (opening.load(std::memory_order_seq_cst) <= 0) return;
    // fork() in a signal handler within the call.
    if (last_to_open.load(std::memory_order_relaxed) == pthread_self()) return;
    give_way(turn);
  }
}

void after_fork() { forking.fetch_sub(1, std::memory_order_seq_cst); }

// A number that was closed in the parent before the fork is another file's since, or none's.
bool is_still(const Slot& slot, int fd) {
  KernelStat info{};
  return kernel_fstat(fd, info) == 0 &&
         info.st_dev == slot.device.load(std::memory_order_relaxed) &&
         info.st_ino == slot.inode.load(std::memory_order_relaxed);
}

void in_child() {
  const ErrnoKeeper keep;
  forking.store(0, std::memory_order_relaxed);
  opening.store(0, std::memory_order_relaxed);
  for (Slot& slot : slots) {
    const int fd = slot.fd.load(std::memory_order_relaxed);
    // A child of the thread itself that opened it (fork() in a signal handler) goes on with it.
    if (slot.thread.load(std::memory_order_relaxed) == pthread_self()) continue;
    if (fd >= 0 && is_still(slot, fd)) system_call(SYS_close, fd);
    slot.fd.store(-1, std::memory_order_relaxed);
  }
}

}  // namespace

void start_fork_handlers() {
  if (__register_atfork != nullptr) {
    __register_atfork(before_fork, after_fork, in_child, nullptr);
  } else if (pthread_atfork != nullptr) {
    pthread_atfork(before_fork, after_fork, in_child);
  }
}

Opening::Opening() : held_(true) {
  for (int turn = 0; turn < kTurns + kNapsOfOpening; ++turn) {
    opening.fetch_add(1, std::memory_order_seq_cst);
    if (forking.load(std::memory_order_seq_cst) <= 0) {
      last_to_open.store(pthread_self(), std::memory_order_relaxed);
      return;
    }
    opening.fetch_sub(1, std::memory_order_seq_cst);
    give_way(turn);
  }
  held_ = false;
}

Opening::~Opening() {
  if (!held_) return;
  last_to_open.store(0, std::memory_order_relaxed);
  opening.fetch_sub(1, std::memory_order_seq_cst);
}

void OwnDescriptor::open_socket(int family, int type, int protocol) {
  const Opening guard;
  if (guard) take(system_call(SYS_socket, family, type | SOCK_CLOEXEC, protocol));
}

void OwnDescriptor::take(long fd) {
  fd_ = static_cast<int>(fd);
  KernelStat info{};
  if (fd_ < 0 || kernel_fstat(fd_, info) != 0) return;
  Slot& slot = slots[next_slot.fetch_add(1, std::memory_order_relaxed) % std::size(slots)];
  slot.device.store(info.st_dev, std::memory_order_relaxed);
  slot.inode.store(info.st_ino, std::memory_order_relaxed);
  slot.thread.store(pthread_self(), std::memory_order_relaxed);
  slot.fd.store(fd_, std::memory_order_relaxed);
}

OwnDescriptor::~OwnDescriptor() {
  if (fd_ < 0) return;
  const ErrnoKeeper keep;
  system_call(SYS_close, fd_);
}

}  // namespace portpool::shim
