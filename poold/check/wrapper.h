// Programs that start another one: does the environment, and with it LD_PRELOAD, reach that?
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace portpool::check {

struct Wrapping {
  std::string loses;      // how it drops or replaces LD_PRELOAD, a sentence; empty: it passes it on
  std::string fix;        // what to do about that
  std::size_t inner = 0;  // the word that names the program it starts; 0: none is given
};

// `words`: a command line, at least one word. Knows the usual ones by name, and what their options
// do; an option's value that happens to be a program's name may be taken for the program.
Wrapping wrapping_of(std::span<const std::string> words);

}  // namespace portpool::check
