// Waiting for something that another process does, without timing assumptions: the deadline is so
// late that only a hang reaches it.
#pragma once

#include <chrono>
#include <thread>

namespace portpool::test {

inline constexpr std::chrono::seconds kDeadline{60};

// Calls `condition` every few milliseconds until it is true; false when the deadline passes.
template <class Condition>
bool eventually(Condition condition, std::chrono::milliseconds deadline = kDeadline) {
  const auto end = std::chrono::steady_clock::now() + deadline;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

}  // namespace portpool::test
