#include "shim/user_memory.h"

#include <sys/auxv.h>

#include <cerrno>
#include <cstdint>

#include "portpool/system_call.h"
#include "shim/process.h"

namespace portpool::shim {
namespace {

constexpr std::uintptr_t kPage = 4096;  // the smallest of any kernel we build for
// Nothing else is mapped this close below the top of the main stack: mmap_base() in the kernel's
// mm/util.c leaves 128 MiB.
constexpr std::uintptr_t kStackReach = std::uintptr_t{64} << 20;

// The kernel's 16 random bytes lie above all frames of the main thread (create_elf_tables()). 0:
// not known, and no address is taken to be on that stack.
std::uintptr_t main_stack_end;

// rt_sigprocmask(2) reads the set first and looks at `how` afterwards: EFAULT or EINVAL, and no
// signal is blocked. An aligned word never lies on two pages.
bool word_is_readable(std::uintptr_t address) {
  constexpr int kNoSuchHow = -1;
  const std::uintptr_t word = address & ~(sizeof(std::uint64_t) - 1);
  if (word == 0) return false;  // to that call, no set at all
  return system_call(SYS_rt_sigprocmask, kNoSuchHow, word, nullptr, sizeof(std::uint64_t)) == 0 ||
         errno != EFAULT;
}

}  // namespace

void find_main_stack() { main_stack_end = getauxval(AT_RANDOM); }

bool is_readable(const void* address, std::size_t size) {
  const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  const auto first = reinterpret_cast<std::uintptr_t>(address);
  const std::uintptr_t last = first + size - 1;
  if (last < first) return false;
  if (first / kPage == here / kPage && last / kPage == here / kPage) return true;
  if (here < main_stack_end && main_stack_end - here < kStackReach && first >= here &&
      last < main_stack_end) {
    return true;
  }
  const ErrnoKeeper keep;
  return word_is_readable(first) && (first / kPage == last / kPage || word_is_readable(last));
}

}  // namespace portpool::shim
