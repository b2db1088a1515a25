// Words for standard error that nothing depends on.
#pragma once

#include <fmt/format.h>

#include <string>
#include <utility>

namespace portpool {

// Says it where that is possible. A standard error that is closed, full or without a reader is no
// reason to give up what is under way: `poold run` owes its caller the command's own exit status.
// A pipe that is full gets two seconds, in all; a terminal all the time it takes. The text may come
// from outside: what a terminal would act on is made harmless.
void tell_text(const std::string& text);

template <class... Args>
void tell(fmt::format_string<Args...> format, Args&&... args) {
  tell_text(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace portpool
