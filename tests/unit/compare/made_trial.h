// Trials that nobody measured.
#pragma once

#include <algorithm>
#include <cstdint>
#include <random>
#include <string>

#include "compare/trial.h"

namespace portpool::test {

struct Arm {
  double us;           // about which latencies lie
  int connects = 500;  // in each block
};

// Latencies spread by a tenth either way, blocks by `drift` of the value.
inline Trial trial_of(std::size_t pairs, Arm pool, Arm kernel, double drift = 0.02) {
  Trial trial;
  trial.block_s = 2;
  trial.dropped_s = 0.2;
  trial.subject = "a test";
  std::mt19937_64 random(42);
  std::uniform_real_distribution<double> spread(-1, 1);
  for (std::size_t i = 0; i < 2 * pairs; ++i) {
    Block block;
    block.number = static_cast<std::uint32_t>(i + 1);
    block.arm = (i + i / 2) % 2 == 0 ? Route::pool : Route::kernel;
    block.start_s = static_cast<double>(i) * 2;
    block.length_s = 1.8;
    block.occupancy = 0.5;
    const Arm& arm = block.arm == Route::pool ? pool : kernel;
    const double middle = arm.us * (1 + drift * spread(random));
    for (int c = 0; c < arm.connects; ++c) {
      const auto ns = static_cast<std::uint64_t>(middle * (1 + 0.1 * spread(random)) * 1000);
      ++block.latency.buckets[latency_bucket(ns)];
      ++block.latency.count;
      block.latency.sum_ns += ns;
      block.latency.max_ns = std::max(block.latency.max_ns, ns);
    }
    trial.blocks.push_back(block);
  }
  return trial;
}

// The same as a measurement with one arm: those of the pool's blocks ended on the pool's path.
inline Trial run_of(std::size_t pairs, Arm pool, Arm kernel) {
  Trial trial = trial_of(pairs, pool, kernel);
  for (Block& block : trial.blocks) {
    block.paths.resize(2);
    block.paths[static_cast<std::size_t>(block.arm)] = block.latency;
  }
  return trial;
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace portpool::test
