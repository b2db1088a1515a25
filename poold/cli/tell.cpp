#include "cli/tell.h"

#include <unistd.h>

#include <chrono>
#include <exception>

#include "base/text.h"
#include "daemon/log_outlet.h"

namespace portpool {

void tell_text(const std::string& text) {
  using Clock = std::chrono::steady_clock;
  static bool patience_lost = false;
  try {
    LogOutlet outlet(STDERR_FILENO);
    // Who has stopped a terminal wants to read what comes next.
    if (isatty(STDERR_FILENO) == 0) {
      outlet.end_by(Clock::now() + (patience_lost ? Clock::duration{} : std::chrono::seconds(2)));
    }
    if (!outlet.write(lines_for_terminal(text))) patience_lost = true;
  } catch (const std::exception&) {
    // No descriptor for it.
  }
}

}  // namespace portpool
