// The terminal, by ncurses: taken over while the object lives, given back as it was.
#pragma once

#include <string>
#include <vector>

#include "observe/top/text.h"

struct screen;

namespace portpool {

class Screen {
 public:
  // Throws UserError when the terminal cannot show a full screen.
  Screen();
  ~Screen();
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  std::size_t width() const;
  std::size_t height() const;
  void paint(const std::vector<Line>& lines);
  // Takes on the terminal's present size.
  void resize();
  // The next key that was pressed (curses.h), -1 when there is none.
  int key();

 private:
  int attributes(Style style) const;
  std::string spark(char level) const;

  ::screen* screen_ = nullptr;
  bool colours_ = false;
  bool blocks_ = false;  // the terminal has U+2581 to U+2588
};

}  // namespace portpool
