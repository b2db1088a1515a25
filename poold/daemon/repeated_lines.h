// Lines that others can cause at will, said once a minute with how many were left out.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace portpool {

// Use from any thread.
class RepeatedLines {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr std::chrono::seconds kWindow{60};

  // What is to be said of a line of this kind now: `text`, or nothing when one of its kind was said
  // less than kWindow ago; it counts as left out then. `kind` comes from the code: there are few.
  std::optional<std::string> take(std::string_view kind, std::string text, Time now);

  // For each kind whose window is over: how many were left out, and the last of them. The next
  // window begins.
  std::vector<std::string> due(Time now);

 private:
  struct Kind {
    Time said;
    std::uint64_t left_out = 0;
    std::string last;
  };
  static std::string summary(const Kind& kind);

  std::mutex mutex_;
  std::map<std::string, Kind, std::less<>> kinds_;
};

}  // namespace portpool
