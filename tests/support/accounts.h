// The accounts of a segment: what must hold between its counters while no client is in the middle
// of a call.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace portpool::test {

// What does not add up in `status` (as `poold status --json` has it), a sentence each.
//
// 1. Connects of a path are the sum of its results; under a seccomp filter a call leaves a result
//    and no latency.
// 2. Connects by the kernel are those with a reason (a fallback, a port of the program's own) and
//    those that were only watched (modes observe and ab). What a process missed before it had the
//    segment is known by its reason alone: it adds to the reasons, and not to the connects.
// 3. A port is given back once: at most as often as one was claimed. That one was is not counted,
//    but follows: a claim ends as a connect by the pool, or as a promise, unless it could not be
//    pinned, which happens by bind() and where the pool names sources; and a child that was forked
//    gives the ports of its parent's sockets back, too: no matter for a program that forks. That
//    every port comes back cannot be told from counters: of a program that ends, or closes behind
//    the library's back, only the kernel's table knows.
// 4. The ports of a lane are in use, quarantined, blocked or free.
//
// cut_off: so many calls may have been ended in the middle by the end of their process or thread,
// each of which has counted one thing and not the next.
std::vector<std::string> account_faults(const nlohmann::json& status, std::uint64_t cut_off = 0);

}  // namespace portpool::test
