// System calls that pass nobody else: libc's syscall() and its wrappers may belong to another
// preloaded library, which may not have started yet, or send calls through a proxy of its own.
//
// No cancellation points, and safe in signal handlers. On x86_64 and aarch64 by the instruction
// (syscall(2) has the registers); elsewhere by libc's syscall().
#pragma once

#include <sys/mman.h>
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

// mmap(2) of the beginning of `fd`, or of anonymous memory: MAP_FAILED on error.
inline void* map_memory(std::size_t size, int protection, int flags, int fd) {
#ifdef PORTPOOL_OWN_SYSTEM_CALLS
  return reinterpret_cast<void*>(system_call(SYS_mmap, nullptr, size, protection, flags, fd, 0));
#else
  return mmap(nullptr, size, protection, flags, fd, 0);
#endif
}

}  // namespace portpool
