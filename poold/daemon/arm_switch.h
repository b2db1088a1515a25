// The segment's control word: the mode in force and, in mode ab, the arm of the present block.
#pragma once

#include <chrono>
#include <optional>

#include "daemon/block_order.h"
#include "daemon/event_loop.h"
#include "lanes/segment.h"

namespace portpool {

class ArmSwitch {
 public:
  ArmSwitch(EventLoop& loop, Segment& segment, Strategy strategy);

  // The mode of the configuration; block and seed (of the order of blocks, 0: random) are mode
  // ab's.
  void configure(Mode mode, std::chrono::milliseconds block, std::uint64_t seed);

  // Mode ab for a while, whatever the configuration says, from a new pair of blocks on. False: such
  // a comparison is under way already.
  bool begin_comparison(std::chrono::milliseconds block, std::uint64_t seed);
  // Back to what the configuration says.
  void end_comparison();

  // What is in force, once more: another process has written there.
  void write_again();

 private:
  void apply();
  void start_blocks(std::chrono::milliseconds block, std::uint64_t seed);
  void next_block();
  void write(const Control& control, AbBlock block);

  EventLoop& loop_;
  Segment& segment_;
  Strategy strategy_;
  Mode mode_ = Mode::pool;
  std::chrono::milliseconds block_{};
  std::uint64_t seed_ = 0;
  bool comparing_ = false;
  std::optional<BlockOrder> order_;  // in mode ab
  std::uint32_t number_;             // of the last block
  Control control_{};
  AbBlock ab_block_{};
  int timer_;
};

}  // namespace portpool
