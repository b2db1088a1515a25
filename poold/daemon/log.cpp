#include "daemon/log.h"

#include <fmt/format.h>
#include <spdlog/async_logger.h>
#include <spdlog/details/thread_pool.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/null_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <future>
#include <thread>
#include <utility>

#include "base/text.h"
#include "base/thread.h"
#include "daemon/log_outlet.h"
#include "daemon/repeated_lines.h"

namespace portpool {
namespace {

constexpr std::size_t kQueuedLines = 2048;
constexpr std::chrono::seconds kLastWords{1};

// syslog(3), as sd-daemon(3) wants it in front of a line.
int priority(spdlog::level::level_enum level) {
  switch (level) {
    case spdlog::level::critical:
      return 2;
    case spdlog::level::err:
      return 3;
    case spdlog::level::warn:
      return 4;
    case spdlog::level::info:
      return 6;
    default:
      return 7;
  }
}

class PriorityFlag : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& line, const std::tm& /*time*/,
              spdlog::memory_buf_t& into) override {
    const std::string text = fmt::format("<{}>", priority(line.level));
    into.append(text.data(), text.data() + text.size());
  }
  std::unique_ptr<custom_flag_formatter> clone() const override {
    return std::make_unique<PriorityFlag>();
  }
};

std::unique_ptr<spdlog::formatter> formatter_for(int fd) {
  auto formatter = std::make_unique<spdlog::pattern_formatter>();
  // The journal has the time and the pid by itself.
  if (is_journal(fd)) {
    formatter->add_flag<PriorityFlag>('*').set_pattern("%*%v");
  } else {
    formatter->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z poold[%P] %l: %v");
  }
  return formatter;
}

spdlog::level::level_enum level_of(LogLevel level) {
  switch (level) {
    case LogLevel::trace:
      return spdlog::level::trace;
    case LogLevel::debug:
      return spdlog::level::debug;
    case LogLevel::info:
      return spdlog::level::info;
    case LogLevel::warn:
      return spdlog::level::warn;
    case LogLevel::error:
      return spdlog::level::err;
    case LogLevel::critical:
      return spdlog::level::critical;
    case LogLevel::off:
      break;
  }
  return spdlog::level::off;
}

RepeatedLines& repeated_lines() {
  static RepeatedLines lines;
  return lines;
}

}  // namespace

// Used by the one thread that empties the queue.
class LogSink : public spdlog::sinks::base_sink<spdlog::details::null_mutex> {
 public:
  LogSink() : base_sink(formatter_for(STDERR_FILENO)), outlet_(STDERR_FILENO) {}

  // Whom to ask how many lines the queue has dropped so far. Lines come from the pool's own thread,
  // which the pool outlives; a share in the pool, held there, might be the last one, and the thread
  // would then have to wait for its own end.
  void watch(spdlog::details::thread_pool* pool) { pool_ = pool; }
  void end_by(std::chrono::steady_clock::time_point time) { outlet_.end_by(time); }

 protected:
  void sink_it_(const spdlog::details::log_msg& line) override {
    say_what_was_lost();
    if (!print(line, for_terminal({line.payload.data(), line.payload.size()}))) {
      ++not_written_;
    }
  }
  void flush_() override {}

 private:
  bool print(spdlog::details::log_msg line, const std::string& text) {
    line.payload = text;
    spdlog::memory_buf_t buffer;
    formatter_->format(line, buffer);
    return outlet_.write({buffer.data(), buffer.size()});
  }

  void say_what_was_lost() {
    const std::size_t lost = not_written_ + pool_->overrun_counter();
    if (lost == said_) return;
    const spdlog::details::log_msg line("poold", spdlog::level::warn, "");
    const std::string text = fmt::format(
        "{} lines of the log are missing here: standard error took no more", lost - said_);
    if (print(line, text)) said_ = lost;
  }

  LogOutlet outlet_;
  spdlog::details::thread_pool* pool_ = nullptr;
  std::size_t not_written_ = 0;
  std::size_t said_ = 0;
};

DaemonLog::DaemonLog(LogLevel level)
    : sink_(std::make_shared<LogSink>()), pool_(with_signals_blocked([] {
        return std::make_shared<spdlog::details::thread_pool>(kQueuedLines, 1U);
      })) {
  sink_->watch(pool_.get());
  auto logger = std::make_shared<spdlog::async_logger>(
      "poold-daemon", sink_, pool_, spdlog::async_overflow_policy::overrun_oldest);
  // Its own way would be to write to standard error itself.
  logger->set_error_handler([](const std::string&) {});
  spdlog::set_default_logger(std::move(logger));
  set_log_level(level);
}

DaemonLog::~DaemonLog() {
  spdlog::set_default_logger(
      std::make_shared<spdlog::logger>("poold", std::make_shared<spdlog::sinks::null_sink_mt>()));
  sink_->end_by(std::chrono::steady_clock::now() + kLastWords);
  // The thread ends when the queue is empty, unless a write hangs that could not be made
  // non-blocking. It is left behind then: the process ends all the same.
  std::promise<void> emptied;
  std::future<void> end = emptied.get_future();
  try {
    std::thread([pool = std::move(pool_), sink = sink_, done = std::move(emptied)]() mutable {
      pool.reset();
      sink.reset();
      done.set_value();
    }).detach();
    end.wait_for(2 * kLastWords);
  } catch (const std::system_error&) {
    // No thread to be had: pool_ went with the closure, whose end has waited.
  }
}

void set_log_level(LogLevel level) { spdlog::set_level(level_of(level)); }

void warn_once_a_minute(std::string_view kind, std::string text) {
  const auto line = repeated_lines().take(kind, std::move(text), std::chrono::steady_clock::now());
  if (line) spdlog::warn("{}", *line);
}

void say_what_was_left_out() {
  for (const std::string& line : repeated_lines().due(std::chrono::steady_clock::now())) {
    spdlog::warn("{}", line);
  }
}

void say_at_the_end(std::string_view text) {
  LogOutlet outlet(STDERR_FILENO);
  outlet.end_by(std::chrono::steady_clock::now() + kLastWords);
  outlet.write(fmt::format("{}poold: {}\n", is_journal(STDERR_FILENO) ? "<3>" : "",
                           lines_for_terminal(text)));
}

}  // namespace portpool
