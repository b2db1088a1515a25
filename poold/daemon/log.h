// poold's log: lines on standard error that never make the daemon wait, and never end it.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "daemon/log_level.h"

namespace spdlog::details {
class thread_pool;
}

namespace portpool {

class LogSink;

// From its making to its end, spdlog's default logger puts lines into a queue that a thread of its
// own empties. When nobody reads standard error, the queue drops its oldest lines, and says how
// many as soon as there is room again. In the journal each line has its priority (sd-daemon(3)),
// elsewhere the time with the zone's offset. What is not printable becomes "?".
//
// SIGPIPE must be ignored. Outlives everything that logs from another thread.
class DaemonLog {
 public:
  // Throws UserError where no thread can be started.
  explicit DaemonLog(LogLevel level);
  // Gives the reader of the last lines a second.
  ~DaemonLog();
  DaemonLog(const DaemonLog&) = delete;
  DaemonLog& operator=(const DaemonLog&) = delete;

 private:
  std::shared_ptr<LogSink> sink_;
  std::shared_ptr<spdlog::details::thread_pool> pool_;
};

void set_log_level(LogLevel level);

// A warning that others can cause at will: those of the same kind are said once a minute, with how
// many were left out. `kind` is a word of the code. From any thread.
void warn_once_a_minute(std::string_view kind, std::string text);
// Says what warn_once_a_minute() has left out, when its minute is over. To be called now and then.
void say_what_was_left_out();

// One line on standard error, without a log: "poold: TEXT". Waits a second at most for a reader.
void say_at_the_end(std::string_view text);

}  // namespace portpool
