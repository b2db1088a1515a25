// Which arm comes next in mode ab, and for how long: a pure sequence, the same for the same seed.
#pragma once

#include <chrono>
#include <cstdint>
#include <random>

#include "portpool/latency.h"

namespace portpool {

// Blocks come in pairs. A pair has both arms in random order, so that neither whatever drifts nor
// whatever is periodic favours one of them; its blocks have the same length, so that the arms get
// equal time; and that length varies by a tenth either way from pair to pair, so that nothing that
// the machine does in a rhythm stays in step.
class BlockOrder {
 public:
  struct Block {
    Route arm;
    std::chrono::nanoseconds length;
  };

  BlockOrder(std::chrono::nanoseconds length, std::uint64_t seed) : base_(length), random_(seed) {}

  Block next() {
    begun_ = !begun_;
    if (!begun_) return {arm_ == Route::pool ? Route::kernel : Route::pool, length_};
    const std::uint64_t bits = random_();
    arm_ = (bits & 1) == 0 ? Route::pool : Route::kernel;
    // 0.9 to 1.1, in steps of a 2^-32th.
    const double factor = 0.9 + 0.2 * static_cast<double>(bits >> 32) / 4294967296.0;
    length_ = std::chrono::nanoseconds(
        static_cast<std::int64_t>(static_cast<double>(base_.count()) * factor));
    return {arm_, length_};
  }

 private:
  std::chrono::nanoseconds base_;
  std::mt19937_64 random_;
  Route arm_ = Route::pool;
  std::chrono::nanoseconds length_{};
  bool begun_ = false;  // a pair, whose other block comes next
};

}  // namespace portpool
