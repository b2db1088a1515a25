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
    : loop_(loop),
      segment_(segment),
      strategy_(strategy),
      // An adopted segment's numbers go on: none means two blocks.
      number_(AbBlock::unpack(segment.header().ab_block.load(std::memory_order_relaxed)).number),
      timer_(loop.add_timer([this] {
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
  write({mode_, Route::pool, strategy_}, {0, Route::pool});
}

void ArmSwitch::write_again() { write(control_, ab_block_); }

void ArmSwitch::write(const Control& control, AbBlock block) {
  control_ = control;
  ab_block_ = block;
  segment_.set_control(control);
  // After the arm: whoever sees the new number may count on the arm being in force.
  segment_.header().ab_block.store(block.pack(), std::memory_order_release);
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
  write({Mode::ab, block.arm, strategy_}, {number_, block.arm});
  loop_.set_timer(timer_, block.length);
}

}  // namespace portpool
