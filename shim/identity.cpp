#include "shim/identity.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstring>

#include "portpool/system_call.h"
#include "shim/process.h"

namespace portpool::shim {
namespace {

std::atomic<Identity*> identity;
Origin at_first;

std::uint64_t pid_namespace() {
  KernelStat info{};
  return kernel_stat("/proc/self/ns/pid", info) == 0 ? info.st_ino : 0;
}

}  // namespace

const Origin& origin() { return at_first; }

void start_identity() {
  if (identity.load(std::memory_order_relaxed) != nullptr) return;
  const ErrnoKeeper keep;
  void* page =
      map_memory(sizeof(Identity), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  if (page == MAP_FAILED) return;
  if (system_call(SYS_madvise, page, sizeof(Identity), MADV_WIPEONFORK) != 0) {
    system_call(SYS_munmap, page, sizeof(Identity));
    return;
  }
  at_first.pid_namespace = pid_namespace();
  identity.store(static_cast<Identity*>(page), std::memory_order_release);
  std::memcpy(at_first.comm, own_name().comm, sizeof at_first.comm);
}

Identity* own_identity() { return identity.load(std::memory_order_acquire); }

Name own_name() {
  Name name{};
  Identity* known = own_identity();
  if (known != nullptr) {
    name.pid = known->pid.load(std::memory_order_acquire);
    if (name.pid != 0) {
      for (int i = 0; i < 2; ++i) name.comm[i] = known->comm[i].load(std::memory_order_relaxed);
      return name;
    }
  }
  name.pid = static_cast<std::uint32_t>(system_call(SYS_getpid));
  char text[sizeof name.comm] = {};
  system_call(SYS_prctl, PR_GET_NAME, text);
  std::memcpy(name.comm, text, sizeof text);
  if (known == nullptr) return name;
  for (int i = 0; i < 2; ++i) known->comm[i].store(name.comm[i], std::memory_order_relaxed);
  known->pid.store(name.pid, std::memory_order_release);
  return name;
}

std::uint32_t known_pid() {
  const Identity* known = own_identity();
  return known != nullptr ? known->pid.load(std::memory_order_acquire) : 0;
}

}  // namespace portpool::shim
