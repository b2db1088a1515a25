// Whether a descriptor that was received is one of poold's memory files: by one function for the
// shim and for every reader. A file that somebody could truncate, or whose pages cannot be had when
// they are touched, would kill its readers with SIGBUS.
#pragma once

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>

#include "portpool/system_call.h"

namespace portpool {

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010  // Linux 5.1, fcntl(2)
#endif

// The seals that poold sets: the size is for good, and so are the seals.
inline constexpr int kMemoryFileSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

// True for a memfd of ordinary pages (only those can be sealed and lie in tmpfs; those of hugetlbfs
// may have none left to give) with exactly these seals and this size, which is neither 0 nor more
// than half of the address space. By system calls, past interposed functions; changes errno.
inline bool is_memory_file(int fd, std::uint64_t size) {
  KernelStat info;
  struct statfs file_system;
  return size > 0 && size <= SIZE_MAX / 2 &&
         system_call(SYS_fcntl, fd, F_GET_SEALS) == kMemoryFileSeals &&
         kernel_fstat(fd, info) == 0 && S_ISREG(info.st_mode) &&
         static_cast<std::uint64_t>(info.st_size) == size &&
         system_call(SYS_fstatfs, fd, &file_system) == 0 && file_system.f_type == TMPFS_MAGIC;
}

}  // namespace portpool
