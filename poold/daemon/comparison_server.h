// Lets `poold compare` put the daemon into mode ab for as long as its connection stands.
#pragma once

#include <functional>
#include <vector>

#include "base/descriptor.h"
#include "daemon/arm_switch.h"
#include "daemon/event_loop.h"

namespace portpool {

// What a visitor that was handed the segment may send on the same connection, and the answer. The
// comparison ends when the connection does, however that comes about.
struct CompareRequest {
  static constexpr std::uint64_t kMagicWord = 0x0A31524150434F50ULL;

  std::uint64_t magic = kMagicWord;
  std::uint64_t seed = 0;      // of the order of blocks; 0: random
  std::uint32_t block_ms = 0;  // kShortestAbBlock..kLongestAbBlock
  std::uint32_t reserved = 0;
};

enum class CompareAnswer : std::uint32_t { begun = 1, busy = 2, bad_request = 3 };

class ComparisonServer {
 public:
  // `successor`: takes the connection of a visitor that has asked to take over (take_over.h).
  ComparisonServer(EventLoop& loop, ArmSwitch& arms, std::function<void(Descriptor)> successor)
      : loop_(loop), arms_(arms), successor_(std::move(successor)) {}
  ~ComparisonServer();

  // `connection`: of a visitor that may command (root, or the daemon's own user). Most only wanted
  // the segment and close it at once.
  void keep(Descriptor connection);

 private:
  void hear(int fd);
  CompareAnswer take(const CompareRequest& request, int fd);
  void drop(int fd);
  Descriptor release(int fd);

  EventLoop& loop_;
  ArmSwitch& arms_;
  std::function<void(Descriptor)> successor_;
  std::vector<Descriptor> connections_;
  int comparing_ = -1;
};

}  // namespace portpool
