// Memory of the segment in this process: mapped by own system calls, out of core dumps and huge
// pages, and not locked where the program locks all of its own.
#pragma once

#include <sys/mman.h>

#include <cstddef>

#include "portpool/system_call.h"

namespace portpool::shim {

// Set for good by mlockall(): what is mapped from then on is unlocked again (MCL_FUTURE).
inline bool memory_is_locked;

// Other programs' affairs: a page fault of theirs is no harm, and they count against the limit.
inline void unlock(void* base, std::size_t size) { system_call(SYS_munlock, base, size); }

struct Mapping {
  void* base = nullptr;
  std::size_t size = 0;

  // The beginning of `fd`.
  bool map(int fd, int protection) {
    void* memory = map_memory(size, protection, MAP_SHARED, fd);
    if (memory == MAP_FAILED) return false;
    base = memory;
    // They have no place in this program's core dump, nor in huge pages.
    system_call(SYS_madvise, base, size, MADV_DONTDUMP);
    system_call(SYS_madvise, base, size, MADV_NOHUGEPAGE);
    if (memory_is_locked) unlock(base, size);
    return true;
  }
  // To `wanted` bytes of the same file, perhaps elsewhere. It keeps what it has (not dumped, not
  // locked).
  bool resize(std::size_t wanted) {
    const long moved = system_call(SYS_mremap, base, size, wanted, MREMAP_MAYMOVE);
    if (moved == -1) return false;
    base = reinterpret_cast<void*>(moved);
    size = wanted;
    return true;
  }
  // A second mapping of a part of the file whose beginning `whole` is, without its descriptor: an
  // old size of 0 makes mremap(2) map the same file once more. It has what `whole` has (not dumped,
  // not locked). `offset` and `size` are multiples of the page size.
  bool map_part(const Mapping& whole, std::size_t offset) {
    const long first =
        system_call(SYS_mremap, whole.base, std::size_t{0}, offset + size, MREMAP_MAYMOVE);
    if (first == -1) return false;
    auto* memory = reinterpret_cast<unsigned char*>(first);
    if (offset != 0) system_call(SYS_munmap, memory, offset);
    base = memory + offset;
    return true;
  }
  // To where `place` is, in one step: a thread in the middle of a call finds valid memory there at
  // every instant.
  bool move_over(const Mapping& place) {
    if (system_call(SYS_mremap, base, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, place.base) ==
        -1) {
      return false;
    }
    base = nullptr;
    return true;
  }
  void unmap() {
    if (base != nullptr) system_call(SYS_munmap, base, size);
    base = nullptr;
  }
};

}  // namespace portpool::shim
