// Every program under the library: those that /proc shows, joined with what each has left in the
// segment's table of attached processes.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "check/judgement.h"

namespace portpool::check {

struct ProgramCounts {  // since it took its entry
  std::uint64_t pool = 0;
  std::uint64_t kernel = 0;
  std::string fallback;  // the commonest reason; empty: none
  std::uint64_t fallback_count = 0;
};

struct Program {
  pid_t pid = 0;        // 0: of a pid namespace that cannot be seen from here
  pid_t inner_pid = 0;  // in its own pid namespace
  std::string name;
  std::string user;
  std::string unit;  // or container; empty: none
  std::string mode;  // "pool", "observe", "off"
  Answer served = Answer::unknown;
  std::string reason;                   // why not, in one word; empty: served
  std::string text;                     // the same as a sentence
  std::optional<ProgramCounts> counts;  // nullopt: it has no entry, as before its first connect
};

struct Programs {
  std::vector<Program> list;      // those that are not served first, then by connects
  std::size_t unreadable = 0;     // processes that may not be looked into
  std::uint64_t without_row = 0;  // attached, as poold counts them, and not in the list

  Answer answer() const;  // the worst
};

// `socket`: the daemon whose table is read, if there is one, and that programs without a
// PORTPOOL_SOCKET are taken to use.
Programs list_programs(const std::string& socket);

// A table as wide as the screen, 80 columns where there is none.
std::string programs_as_text(const Programs& programs, std::size_t width);
std::size_t screen_width();
nlohmann::ordered_json programs_as_json(const Programs& programs);

}  // namespace portpool::check
