// What a process has to do with a preloaded library: its maps, and what it was started with.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

namespace portpool::kernel {

inline constexpr const char* kLibrary = "libportpool.so";

struct PreloadState {
  bool loaded = false;  // mapped
  // Not mapped, nor is libc yet, which ld.so maps after everything that LD_PRELOAD names: execve()
  // was a moment ago. (A program that has ld.so and no libc stays so.)
  bool starting = false;
  bool replaced = false;   // mapped, but the file has been deleted or replaced since
  bool requested = false;  // named in its LD_PRELOAD
  ino_t structure = 0;     // of the segment's structure that it has mapped; 0: none
  // Of its environment at the start; empty: not set.
  std::string preload;  // LD_PRELOAD
  std::string mode;     // PORTPOOL_MODE
  std::string socket;   // PORTPOOL_SOCKET
};

// nullopt with errno set: the process is gone, has no memory of its own, or may not be looked into.
std::optional<PreloadState> preload_state(pid_t pid, const std::string& library);

}  // namespace portpool::kernel
