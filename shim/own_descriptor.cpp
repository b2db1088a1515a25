// Memory order: sequentially consistent where fork() and Opening look at each other: of the two, at
// least one sees the other. A slot's file is stored before its number (release), and the child that
// reads it was forked after that.
#include "shim/own_descriptor.h"

#include <pthread.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <atomic>

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

constexpr int kFree = -1;
constexpr int kTaken = -2;
constexpr int kTurns = 1000;

// One attempt to attach has three.
struct Slot {
  std::atomic<int> fd{kFree};
  std::atomic<decltype(KernelStat::st_dev)> device;
  std::atomic<decltype(KernelStat::st_ino)> inode;
  std::atomic<pthread_t> thread;
};
constinit Slot slots[6];

std::atomic<int> opening;
std::atomic<int> forking;

void before_fork() {
  const ErrnoKeeper keep;
  forking.fetch_add(1, std::memory_order_seq_cst);
  for (int turn = 0; turn < kTurns && opening.load(std::memory_order_seq_cst) > 0; ++turn) {
    system_call(SYS_sched_yield);
  }
}

void after_fork() { forking.fetch_sub(1, std::memory_order_seq_cst); }

// A number that was closed in the parent, and perhaps used again, just before the fork is another
// file's, or none's.
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
    const int fd = slot.fd.load(std::memory_order_acquire);
    // A child of the attaching thread itself (fork() in a signal handler) goes on with them.
    if (slot.thread.load(std::memory_order_relaxed) == pthread_self()) continue;
    if (fd >= 0 && is_still(slot, fd)) system_call(SYS_close, fd);
    slot.fd.store(kFree, std::memory_order_relaxed);
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

Opening::Opening() {
  for (int turn = 0; turn < kTurns; ++turn) {
    opening.fetch_add(1, std::memory_order_seq_cst);
    if (forking.load(std::memory_order_seq_cst) <= 0) return;
    opening.fetch_sub(1, std::memory_order_seq_cst);
    system_call(SYS_sched_yield);
  }
  opening.fetch_add(1, std::memory_order_seq_cst);
}

Opening::~Opening() { opening.fetch_sub(1, std::memory_order_seq_cst); }

void OwnDescriptor::take(long fd) {
  fd_ = static_cast<int>(fd);
  KernelStat info{};
  if (fd_ < 0 || kernel_fstat(fd_, info) != 0) return;
  for (Slot& slot : slots) {
    int free = kFree;
    if (!slot.fd.compare_exchange_strong(free, kTaken, std::memory_order_relaxed)) continue;
    slot.device.store(info.st_dev, std::memory_order_relaxed);
    slot.inode.store(info.st_ino, std::memory_order_relaxed);
    slot.thread.store(pthread_self(), std::memory_order_relaxed);
    slot.fd.store(fd_, std::memory_order_release);
    slot_ = static_cast<int>(&slot - slots);
    return;
  }
}

OwnDescriptor::~OwnDescriptor() {
  if (fd_ < 0) return;
  system_call(SYS_close, fd_);
  if (slot_ < 0) return;
  slots[slot_].thread.store(0, std::memory_order_relaxed);
  slots[slot_].fd.store(kFree, std::memory_order_release);
}

}  // namespace portpool::shim
