#include "observe/top/screen.h"

// Else there are macros called move, clear, timeout ...
#define NCURSES_NOMACROS
#include <curses.h>
#include <fmt/format.h>
#include <langinfo.h>
#include <sys/ioctl.h>
#include <term.h>
#include <unistd.h>

#include <clocale>
#include <cstdlib>
#include <cstring>

#include "base/error.h"
#include "base/text.h"

namespace portpool {
namespace {

constexpr short kGood = 1;
constexpr short kWarn = 2;
constexpr short kBad = 3;
constexpr short kBar = 4;

}  // namespace

Screen::Screen() {
  std::setlocale(LC_CTYPE, "");
  blocks_ = std::strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
  screen_ = newterm(nullptr, stdout, stdin);
  char cursor_motion[] = "cup";
  const char* const motion = screen_ == nullptr ? nullptr : tigetstr(cursor_motion);
  if (motion == nullptr || motion == reinterpret_cast<const char*>(-1)) {
    if (screen_ != nullptr) {
      endwin();
      delscreen(screen_);
    }
    const char* name = std::getenv("TERM");
    throw UserError(
        fmt::format("a terminal of type \"{}\" has no full screen; set TERM to what it is, or use "
                    "\"poold top --once\"",
                    name == nullptr ? "" : name));
  }
  set_term(screen_);
  cbreak();
  noecho();
  nonl();
  keypad(stdscr, TRUE);
  nodelay(stdscr, TRUE);
  set_escdelay(25);
  curs_set(0);
  colours_ = !colours_are_refused() && has_colors() && start_color() == OK;
  if (colours_) {
    const short background = use_default_colors() == OK ? -1 : COLOR_BLACK;
    init_pair(kGood, COLOR_GREEN, background);
    init_pair(kWarn, COLOR_YELLOW, background);
    init_pair(kBad, COLOR_RED, background);
    init_pair(kBar, COLOR_CYAN, background);
  }
}

Screen::~Screen() {
  endwin();
  delscreen(screen_);
}

std::size_t Screen::width() const { return static_cast<std::size_t>(getmaxx(stdscr)); }
std::size_t Screen::height() const { return static_cast<std::size_t>(getmaxy(stdscr)); }

int Screen::attributes(Style style) const {
  const auto colour = [this](short pair) {
    return colours_ ? static_cast<int>(COLOR_PAIR(pair)) : 0;
  };
  switch (style) {
    case Style::title:
      return A_BOLD;
    case Style::heading:
      return A_BOLD;
    case Style::chosen:
      return A_REVERSE;
    case Style::dim:
      return colours_ ? A_DIM : 0;
    case Style::good:
      return colour(kGood);
    case Style::warn:
      return colour(kWarn) | (colours_ ? 0 : A_BOLD);
    case Style::bad:
      return colour(kBad) | A_BOLD;
    case Style::bar:
    case Style::spark:
      return colour(kBar);
    case Style::chosen_spark:
      return colour(kBar) | A_REVERSE;
    case Style::plain:
      break;
  }
  return 0;
}

std::string Screen::spark(char level) const {
  constexpr const char* kBlocks[] = {" ",      "\u2581", "\u2582", "\u2583", "\u2584",
                                     "\u2585", "\u2586", "\u2587", "\u2588"};
  const auto index = static_cast<std::size_t>(level - '0');
  return blocks_ && index < std::size(kBlocks) ? kBlocks[index]
                                               : std::string(1, spark_in_ascii(level));
}

void Screen::paint(const std::vector<Line>& page) {
  erase();
  for (std::size_t y = 0; y < page.size() && y < height(); ++y) {
    move(static_cast<int>(y), 0);
    for (const Span& span : page[y]) {
      attrset(static_cast<attr_t>(attributes(span.style)));
      if (span.style == Style::bar && blocks_) {
        for (std::size_t i = 0; i < span.text.size(); ++i) addstr("\u2588");
      } else if (span.style == Style::spark || span.style == Style::chosen_spark) {
        for (const char level : span.text) addstr(spark(level).c_str());
      } else {
        addstr(span.text.c_str());
      }
    }
  }
  attrset(A_NORMAL);
  refresh();
}

void Screen::resize() {
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 && size.ws_col > 0) {
    resizeterm(size.ws_row, size.ws_col);
  }
  clear();
}

int Screen::key() { return getch(); }

}  // namespace portpool
