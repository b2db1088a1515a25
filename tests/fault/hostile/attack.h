// What a hostile client does to the hints: kinds of attack, each a sequence of short bursts.
//
// Every store goes through Attack::put(), which keeps account of it: Coverage then tells which
// words of the file were not written. A word is eight bytes of the file, whatever stands there by
// the layout, padding and lanes that are not in service included: a field that is added to a struct
// is written and counted without a change here.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "fault/hostile/attached_segment.h"

namespace portpool::test {

// What was written into each word of the file.
class Coverage {
 public:
  enum Value : std::uint8_t { zeros = 1, ones = 2, random = 4 };
  static constexpr std::uint8_t kAll = zeros | ones | random;

  explicit Coverage(std::size_t words) : written_(words) {}

  void note(std::size_t word, Value value) { written_[word] |= value; }
  std::size_t words() const { return written_.size(); }
  // Words that have had each of the values.
  std::size_t complete() const;
  // The first that has not; words() when there is none.
  std::size_t first_incomplete() const;

 private:
  std::vector<std::uint8_t> written_;
};

// A part of the file, in words: from a section's begin to the next one's.
struct Region {
  std::size_t begin;
  std::size_t end;
};

class Attack {
 public:
  Attack(const AttachedSegment& segment, std::uint64_t seed);

  // The kinds, by name. Each is called again and again, and returns within milliseconds.
  static const std::map<std::string, void (Attack::*)()>& kinds();

  const Coverage& coverage() const { return coverage_; }
  std::uint64_t stores() const { return stores_; }
  // How often a kind has gone through all of its ways.
  std::uint64_t rounds() const { return rounds_; }

 private:
  // Every word of the file with 0, with ones, and at random.
  void sweep();
  // Anything anywhere, in pieces of 2, 4 and 8 bytes; half of it where lanes are in service.
  void noise();
  // The ports of lanes in service.
  void ports();
  // What else a lane has: ring, attention, top, and the events.
  void lane_heads();
  // Requests and the doorbell.
  void requests();
  // What is only shown: counters, latencies, trace.
  void shown();
  // Holes into the file.
  void holes();

  void put(std::size_t word, std::uint64_t value);
  template <class T>
  void put(std::atomic<T>& field, T value) {
    field.store(value, std::memory_order_relaxed);
    ++stores_;
  }
  void fill(const Region& region, Coverage::Value value);
  void ring();
  // A futex call on the doorbell: FUTEX_WAKE, or FUTEX_REQUEUE to `other`.
  void futex(int operation, std::uint32_t count, std::atomic<std::uint32_t>* other);
  std::uint64_t pick(std::uint64_t count) { return random_() % count; }

  // Which of `ways` it is the turn of: each for a while.
  std::size_t turn(std::size_t ways);
  // Calls `write` for each lane in service.
  void each_lane(const std::function<void(LaneHints&, const LaneInfo&)>& write);

  const AttachedSegment& segment_;
  const SegmentView& view_;
  const std::span<std::atomic<std::uint64_t>> words_;
  std::mt19937_64 random_;
  Coverage coverage_;
  std::vector<Region> regions_;
  std::uint64_t stores_ = 0;
  std::uint64_t rounds_ = 0;
  std::size_t way_ = 0;
  std::uint64_t way_since_ns_ = 0;
};

}  // namespace portpool::test
