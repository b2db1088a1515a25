// Words for standard error that nothing depends on.
#pragma once

#include <fmt/format.h>

#include <cstdio>
#include <string>
#include <utility>

#include "base/text.h"

namespace portpool {

// Says it where that is possible. A standard error that is closed, full or without a reader is no
// reason to give up what is under way: `poold run` owes its caller the command's own exit status.
// The arguments may come from outside: what a terminal would act on is made harmless.
template <class... Args>
void tell(fmt::format_string<Args...> format, Args&&... args) {
  const std::string text = fmt::format(format, std::forward<Args>(args)...);
  std::fputs(lines_for_terminal(text).c_str(), stderr);
}

}  // namespace portpool
