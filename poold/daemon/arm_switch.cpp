#include "daemon/arm_switch.h"

#include <random>

namespace portpool {
namespace {

std::uint64_t random_seed() {
  std::random_device device;
  return std::uint64_t{device()} << 32 | device();
}

}  // namespace

ArmSwitch::ArmSwitch(EventLoop& loop, Segment& segment, Strategy strategy)
    : loop_(loop), segment_(segment), strategy_(strategy), timer_(loop.add_timer([this] {
        if (order_) next_block();
      })) {}

void ArmSwitch::configure(Mode mode, std::chrono::milliseconds block, std::uint64_t seed) {
  const bool same = mode == mode_ && block == block_;
  mode_ = mode;
  block_ = block;
  seed_ = seed;
  // A reload that changes nothing here must not cut a block short.
  if (!comparing_ && !(same && order_)) apply();
}

bool ArmSwitch::begin_comparison(std::chrono::milliseconds block, std::uint64_t seed) {
  if (comparing_) return false;
  comparing_ = true;
  start_blocks(block, seed);
  return true;
}

void ArmSwitch::end_comparison() {
  if (!comparing_) return;
  comparing_ = false;
  apply();
}

void ArmSwitch::apply() {
  if (mode_ == Mode::ab) return start_blocks(block_, seed_);
  order_.reset();
  segment_.set_control({mode_, Route::pool, strategy_});
  segment_.header().ab_block.store(0, std::memory_order_relaxed);
}

void ArmSwitch::start_blocks(std::chrono::milliseconds block, std::uint64_t seed) {
  order_.emplace(block, seed != 0 ? seed : random_seed());
  // Pairs begin with an odd number; a pair that was cut short is left as it is.
  number_ += number_ % 2;
  next_block();
}

void ArmSwitch::next_block() {
  const BlockOrder::Block block = order_->next();
  number_ = (number_ + 1) & 0x7FFFFFFFU;
  segment_.set_control({Mode::ab, block.arm, strategy_});
  // After the arm: whoever sees the new number may count on the arm being in force.
  segment_.header().ab_block.store(AbBlock{number_, block.arm}.pack(), std::memory_order_release);
  loop_.set_timer(timer_, block.length);
}

}  // namespace portpool
