// System calls that pass nobody else: libc's syscall() and its wrappers may belong to another
// preloaded library, which may not have started yet, or send calls through a proxy of its own.
//
// No cancellation points, and safe in signal handlers. On x86_64, i386 and aarch64 by the
// instruction (syscall(2) has the registers); elsewhere by libc's syscall().
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <type_traits>

namespace portpool {
namespace detail {

#if defined(__x86_64__) && !defined(__ILP32__)

#define PORTPOOL_OWN_SYSTEM_CALLS 1

inline long raw_system_call(long number, long a, long b, long c, long d, long e, long f) {
  long result;
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  register long r9 asm("r9") = f;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return result;
}

#elif defined(__i386__)

#define PORTPOOL_OWN_SYSTEM_CALLS 1

// The sixth argument's register may be the frame pointer, which the compiler cannot give away. Its
// value goes by the stack: an operand that is addressed by esp is read before esp moves.
inline long raw_system_call(long number, long a, long b, long c, long d, long e, long f) {
  long result;
  asm volatile(
      "pushl %[f]\n\t"
      "push %%ebp\n\t"
      "mov 4(%%esp), %%ebp\n\t"
      "int $0x80\n\t"
      "pop %%ebp\n\t"
      "add $4, %%esp"
      : "=a"(result)
      : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e), [f] "g"(f)
      : "memory", "cc");
  return result;
}

#elif defined(__aarch64__)

#define PORTPOOL_OWN_SYSTEM_CALLS 1

inline long raw_system_call(long number, long a, long b, long c, long d, long e, long f) {
  register long x8 asm("x8") = number;
  register long x0 asm("x0") = a;
  register long x1 asm("x1") = b;
  register long x2 asm("x2") = c;
  register long x3 asm("x3") = d;
  register long x4 asm("x4") = e;
  register long x5 asm("x5") = f;
  asm volatile("svc 0"
               : "+r"(x0)
               : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
               : "memory", "cc");
  return x0;
}

#endif

template <class Argument>
long system_call_word(Argument argument) {
  if constexpr (std::is_pointer_v<Argument>) {
    return reinterpret_cast<long>(argument);
  } else if constexpr (std::is_null_pointer_v<Argument>) {
    return 0;
  } else {
    return static_cast<long>(argument);
  }
}

inline long system_call_words(long number, long a = 0, long b = 0, long c = 0, long d = 0,
                              long e = 0, long f = 0) {
#ifdef PORTPOOL_OWN_SYSTEM_CALLS
  // Errors are -1 to -4095 (syscall(2)).
  const long result = raw_system_call(number, a, b, c, d, e, f);
  if (result >= 0 || result < -4095) return result;
  errno = static_cast<int>(-result);
  return -1;
#else
  return ::syscall(number, a, b, c, d, e, f);
#endif
}

}  // namespace detail

// As syscall(2): -1 with errno on error; errno untouched otherwise. Integers and pointers as
// arguments, at most six.
template <class... Arguments>
long system_call(long number, Arguments... arguments) {
  return detail::system_call_words(number, detail::system_call_word(arguments)...);
}

// What fstat(2) and fstatat(2) of the kernel fill in. Where long has 32 bits that is struct stat64,
// and libc's struct stat is its own.
#ifdef SYS_fstat64
using KernelStat = struct stat64;
inline long kernel_fstat(int fd, KernelStat& out) { return system_call(SYS_fstat64, fd, &out); }
inline long kernel_stat(const char* path, KernelStat& out) {
  return system_call(SYS_fstatat64, AT_FDCWD, path, &out, 0);
}
#else
using KernelStat = struct stat;
inline long kernel_fstat(int fd, KernelStat& out) { return system_call(SYS_fstat, fd, &out); }
inline long kernel_stat(const char* path, KernelStat& out) {
  return system_call(SYS_newfstatat, AT_FDCWD, path, &out, 0);
}
#endif

// mmap(2) of the beginning of `fd`, or of anonymous memory: MAP_FAILED on error.
inline void* map_memory(std::size_t size, int protection, int flags, int fd) {
#ifdef PORTPOOL_OWN_SYSTEM_CALLS
#ifdef SYS_mmap2
  constexpr long kMmap = SYS_mmap2;  // SYS_mmap takes its arguments from memory there
#else
  constexpr long kMmap = SYS_mmap;
#endif
  return reinterpret_cast<void*>(system_call(kMmap, nullptr, size, protection, flags, fd, 0));
#else
  return mmap(nullptr, size, protection, flags, fd, 0);
#endif
}

}  // namespace portpool
