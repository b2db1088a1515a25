// Memory that a program names in a call: read only when it can be read, so that a wild pointer is
// the kernel's to refuse.
#pragma once

#include <cstddef>

namespace portpool::shim {

// At load time: where the main thread's stack ends.
void find_main_stack();

// Whether `size` bytes (at most a page) at `address` can be read now. Free for what lies in the
// page of the caller's frame, or in the main thread's stack while that is the one in use;
// otherwise a system call without any effect, or two across the border of a page. Leaves errno.
bool is_readable(const void* address, std::size_t size);

}  // namespace portpool::shim
