#include "shim/real.h"
#include "portpool/system_call.h"

#include <dlfcn.h>
#include <sys/syscall.h>

namespace portpool::shim {
namespace {

Real table;
bool filled;

template <class Function>
void find(Function& slot, const char* name, Function substitute = nullptr) {
  void* symbol = dlsym(RTLD_NEXT, name);
  const Function found = symbol != nullptr ? reinterpret_cast<Function>(symbol) : substitute;
  __atomic_store_n(&slot, found, __ATOMIC_RELAXED);
}

int substitute_close_range(unsigned first, unsigned last, int flags) noexcept {
  return static_cast<int>(system_call(SYS_close_range, first, last, flags));
}

void substitute_closefrom(int first) noexcept {
  system_call(SYS_close_range, static_cast<unsigned>(first), ~0U, 0);
}

// Safe to run in several threads at once: all of them store the same values.
__attribute__((noinline)) void fill() {
  find(table.bind, "bind");
  find(table.close, "close");
  find(table.close_range, "close_range", &substitute_close_range);
  find(table.closefrom, "closefrom", &substitute_closefrom);
  find(table.connect, "connect");
  find(table.dup, "dup");
  find(table.dup2, "dup2");
  find(table.dup3, "dup3");
  find(table.fclose, "fclose");
  find(table.fcntl, "fcntl");
  find(table.fcntl64, "fcntl64", table.fcntl);
  find(table.getsockname, "getsockname");
  find(table.getsockopt, "getsockopt");
  find(table.ioctl, "ioctl");
  find(table.listen, "listen");
  find(table.mlockall, "mlockall");
  find(table.prctl, "prctl");
  find(table.setns, "setns");
  find(table.setsockopt, "setsockopt");
  find(table.socket, "socket");
  find(table.syscall, "syscall");
  find(table.unshare, "unshare");
  __atomic_store_n(&filled, true, __ATOMIC_RELEASE);
}

}  // namespace

const Real& real() {
  if (!__atomic_load_n(&filled, __ATOMIC_ACQUIRE)) fill();
  return table;
}

}  // namespace portpool::shim
