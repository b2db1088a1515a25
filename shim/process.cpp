#include "shim/process.h"

#include <sys/auxv.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "portpool/endpoint.h"
#include "portpool/handover.h"
#include "portpool/system_call.h"
#include "shim/attach.h"
#include "shim/identity.h"
#include "shim/own_descriptor.h"
#include "shim/real.h"
#include "shim/user_memory.h"

namespace portpool::shim {

constinit ProcessSettings settings;
bool namespace_changed;

namespace {

std::uint64_t secret[2];

}  // namespace

void make_secret() {
  if (secret[0] != 0) return;
  if (system_call(SYS_getrandom, secret, sizeof secret, 0) == sizeof secret) return;
  // The kernel's 16 random bytes for this process image (getauxval(3)).
  const auto* bytes = reinterpret_cast<const void*>(getauxval(AT_RANDOM));
  if (bytes != nullptr) std::memcpy(secret, bytes, sizeof secret);
}

namespace {

// A copy: nginx and others write their titles over the environment they were started with. One byte
// more than a socket address holds, so that a path that is too long stays too long.
char socket_path[sizeof sockaddr_un::sun_path + 1];

const char* keep_socket_path(const char* path) {
  if (path == nullptr || *path == '\0') path = kDefaultSocket;
  std::size_t length = std::strlen(path);
  if (length > sizeof socket_path - 1) length = sizeof socket_path - 1;
  std::memcpy(socket_path, path, length);
  return socket_path;
}

bool read_mode(const char* text, ProcessMode& mode) {
  if (text == nullptr || *text == '\0' || std::strcmp(text, "pool") == 0) {
    mode = ProcessMode::pool;
  } else if (std::strcmp(text, "observe") == 0) {
    mode = ProcessMode::observe;
  } else if (std::strcmp(text, "off") == 0) {
    mode = ProcessMode::off;
  } else {
    return false;
  }
  return true;
}

__attribute__((constructor)) void start() {
  const ErrnoKeeper keep;
  (void)real();
  const char* verbose = std::getenv("PORTPOOL_VERBOSE");
  settings.verbose = verbose != nullptr && std::strcmp(verbose, "1") == 0;
  const char* mode_text = std::getenv("PORTPOOL_MODE");
  ProcessMode mode = ProcessMode::off;
  if (!read_mode(mode_text, mode)) {
    say("PORTPOOL_MODE must be pool, observe or off; switched off because it is ", mode_text);
  }
  // A set-user-ID program takes no orders from its caller's environment.
  if (getauxval(AT_SECURE) != 0) mode = ProcessMode::off;
  if (mode == ProcessMode::off) return;
  settings.socket_path = keep_socket_path(std::getenv("PORTPOOL_SOCKET"));
  find_main_stack();
  start_fork_handlers();
  attach_at_start();
  settings.mode = mode;
}

}  // namespace

bool in_borrowed_memory() {
  const std::uint32_t owner = known_pid();
  return owner != 0 && owner != static_cast<std::uint32_t>(system_call(SYS_getpid));
}

std::uint64_t random_at(std::uint64_t now) {
  const auto here = reinterpret_cast<std::uintptr_t>(&now);
  return mix(secret[0] ^ now, secret[1] ^ here);
}

void say(const char* first, const char* second) {
  if (!settings.verbose) return;
  const ErrnoKeeper keep;
  char line[512];
  std::size_t used = 0;
  for (const char* part : {"portpool: ", first, second, "\n"}) {
    std::size_t length = std::strlen(part);
    const std::size_t room = sizeof line - 1 - used;
    if (length > room) length = room;
    std::memcpy(line + used, part, length);
    used += length;
  }
  line[used - 1] = '\n';
  system_call(SYS_write, STDERR_FILENO, line, used);
}

}  // namespace portpool::shim
