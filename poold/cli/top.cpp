// Else there are macros called move, clear, timeout ...
#define NCURSES_NOMACROS
#include <curses.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <ctime>
#include <sstream>

#include "base/error.h"
#include "check/programs.h"
#include "cli/commands.h"
#include "cli/outlet.h"
#include "cli/watch.h"
#include "observe/top/page.h"
#include "observe/top/screen.h"

namespace portpool {
namespace {

using Clock = std::chrono::steady_clock;

Clock::duration pause_of(const TopOptions& options) {
  return std::chrono::duration_cast<Clock::duration>(
      std::chrono::duration<double>(options.interval));
}

int milliseconds_until(Clock::time_point due) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(due - Clock::now()).count();
  return static_cast<int>(std::max<std::int64_t>(left, 0));
}

// SIGWINCH, and those that end a program: seen between two pictures instead of in the middle of
// one, so that the terminal is always given back.
class ScreenSignals {
 public:
  struct Seen {
    bool end = false;
    bool resized = false;
  };
  // Waits for a signal, a key, or `due`.
  Seen wait(Clock::time_point due) {
    pollfd watched[] = {{fd_.get(), POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
    Seen seen;
    if (poll(watched, 2, milliseconds_until(due)) <= 0) return seen;
    seen.end = (watched[1].revents & (POLLERR | POLLHUP | POLLNVAL)) != 0;
    signalfd_siginfo info;
    while (read(fd_.get(), &info, sizeof info) == sizeof info) {
      (info.ssi_signo == SIGWINCH ? seen.resized : seen.end) = true;
    }
    return seen;
  }

 private:
  Descriptor fd_ = readable_signals({SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH});
};

// Of a filter that is being typed.
void type(int key, View& view) {
  constexpr std::size_t kMost = 60;
  switch (key) {
    case '\r':
    case '\n':
    case KEY_ENTER:
      view.typing = false;
      break;
    case '\x1b':
      view.typing = false;
      view.filter.clear();
      break;
    case KEY_BACKSPACE:
    case '\b':
    case '\x7f':
      if (!view.filter.empty()) view.filter.pop_back();
      break;
    default:
      if (key >= ' ' && key <= '~' && view.filter.size() < kMost) {
        view.filter += static_cast<char>(key);
      }
      break;
  }
  view.scroll = 0;
}

// What a key changes. False: quit.
bool obey(int key, View& view, const Page& page, const Snapshot& snapshot) {
  const auto up = [&](std::size_t lines) { view.scroll -= std::min(view.scroll, lines); };
  const auto sort_by_neighbour = [&](int steps) {
    view.order = {neighbour(page.columns, view.order.column, steps), false};
    view.scroll = 0;
  };
  if (view.typing) {
    type(key, view);
    return true;
  }
  switch (key) {
    case 'q':
    case 'Q':
      return false;
    case 's':
    case '>':
    case '.':
      sort_by_neighbour(1);
      break;
    case '<':
    case ',':
      sort_by_neighbour(-1);
      break;
    case 'r':
      view.order.reversed = !view.order.reversed;
      break;
    case 'g':
      view.histogram = !view.histogram;
      break;
    case 'p':
    case ' ':
      view.paused = !view.paused;
      break;
    case 'h':
    case '?':
      view.help = !view.help;
      view.scroll = 0;
      break;
    case '/':
      view.typing = true;
      view.filter.clear();
      break;
    case '\x1b':
      if (!view.help && !view.past) view.filter.clear();
      view.help = false;
      view.past.reset();
      break;
    case 'c':
      view.lists_programs = !view.lists_programs;
      view.scroll = 0;
      break;
    case 't':
      view.timeline = !view.timeline;
      break;
    case 'z':
      view.step = next_step(view.step);
      break;
    case KEY_LEFT:
      go(view, snapshot, -1);
      break;
    case KEY_RIGHT:
      if (view.past) go(view, snapshot, 1);
      break;
    case KEY_UP:
    case 'k':
      up(1);
      break;
    case KEY_DOWN:
    case 'j':
      view.scroll += 1;
      break;
    case KEY_PPAGE:
      up(page.page_size);
      break;
    case KEY_NPAGE:
      view.scroll += page.page_size;
      break;
    case KEY_HOME:
      view.scroll = 0;
      break;
    case KEY_END:
      if (view.past) {
        view.past.reset();
      } else {
        view.scroll = SIZE_MAX / 2;
      }
      break;
    default:
      break;
  }
  return true;
}

std::vector<std::string> lines_of_programs(const std::string& socket, std::size_t width) {
  std::istringstream text(check::programs_as_text(check::list_programs(socket), width));
  std::vector<std::string> lines;
  for (std::string line; std::getline(text, line);) lines.push_back(line);
  return lines;
}

int watch_on_screen(const TopOptions& options) {
  Monitor monitor(options.socket);
  ScreenSignals signals;
  Screen screen;
  View view;
  view.order = options.order;
  const auto list_programs = [&] {
    if (view.lists_programs) view.programs = lines_of_programs(options.socket, screen.width());
  };
  // Rates need two readings; the first picture shall not wait a whole interval for them.
  monitor.sample();
  Clock::time_point due =
      Clock::now() + std::min<Clock::duration>(pause_of(options), std::chrono::milliseconds(300));
  for (;;) {
    const Page page = draw_page(monitor.snapshot(), view, screen.width(), screen.height());
    screen.paint(page.lines);
    const auto seen = signals.wait(view.paused ? Clock::now() + std::chrono::hours(1) : due);
    if (seen.end) return 0;
    if (seen.resized) screen.resize();
    const bool listed = view.lists_programs;
    for (int key = screen.key(); key != ERR; key = screen.key()) {
      if (!obey(key, view, page, monitor.snapshot())) return 0;
    }
    const bool is_due = !view.paused && Clock::now() >= due;
    // Not at each key: it reads all of /proc.
    if (is_due || seen.resized || !listed) list_programs();
    if (is_due) {
      monitor.sample();
      due = Clock::now() + pause_of(options);
    }
  }
}

std::string plain_text(const Page& page) {
  std::string text;
  for (const Line& line : page.lines) text += plain_text(line);
  return text;
}

// Pages of text, one after the other.
int watch_in_text(const TopOptions& options) {
  constexpr std::size_t kWidth = 132;
  Monitor monitor(options.socket);
  Outlet outlet;
  monitor.sample();
  Clock::time_point due = Clock::now();
  for (;;) {
    due += pause_of(options);
    while (!outlet.ended() && Clock::now() < due) {
      outlet.wait(std::chrono::milliseconds(milliseconds_until(due)));
    }
    if (outlet.ended()) return 0;
    monitor.sample();
    outlet.print(time_line() + plain_text(draw_text(monitor.snapshot(), kWidth, options.order)) +
                 "\n");
  }
}

int print_once(const TopOptions& options) {
  const SegmentReader reader(options.socket);
  const Report report = read_watched_report(reader.view());
  ShownLanes shown;
  shown.order = options.order;
  fmt::print("{}", report_as_text(report, shown));
  return report.alive() ? 0 : 1;
}

}  // namespace

int top_command(const TopOptions& options) {
  if (options.once) return print_once(options);
  if (isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1) return watch_on_screen(options);
  return options.interval_given ? watch_in_text(options) : print_once(options);
}

}  // namespace portpool
