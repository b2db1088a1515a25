// Words for standard error that nothing depends on.
#pragma once

#include <fmt/format.h>

#include <cstdio>
#include <utility>

namespace portpool {

// Says it where that is possible. A standard error that is closed, full or without a reader is no
// reason to give up what is under way: `poold run` owes its caller the command's own exit status.
template <class... Args>
void tell(fmt::format_string<Args...> format, Args&&... args) {
  std::fputs(fmt::format(format, std::forward<Args>(args)...).c_str(), stderr);
}

}  // namespace portpool
