#include "fault/hostile/attack.h"

#include <fcntl.h>
#include <linux/falloc.h>

#include <algorithm>
#include <array>

#include "base/clock.h"

namespace portpool::test {
namespace {

// How long one way of an attack goes on before the next: several of poold's passes, at its quickest
// pace.
constexpr std::uint64_t kTurnNs = 100'000'000;
// A sweep stays with a region and a value so long.
constexpr std::uint64_t kSweepTurnNs = 1'000'000;

std::vector<Region> regions_of(const StructureHeader& header, std::size_t words) {
  std::vector<std::size_t> begins{0};
  for (const Section& section :
       {header.requests, header.attached, header.shards, header.lane_hints, header.trace}) {
    begins.push_back(section.offset / 8);
  }
  for (std::uint32_t i = 1; i < header.lane_hints.count; ++i) {
    begins.push_back((header.lane_hints.offset + std::uint64_t{i} * sizeof(LaneHints)) / 8);
  }
  std::sort(begins.begin(), begins.end());
  std::vector<Region> regions;
  for (std::size_t i = 0; i < begins.size(); ++i) {
    regions.push_back({begins[i], i + 1 < begins.size() ? begins[i + 1] : words});
  }
  return regions;
}

}  // namespace

std::size_t Coverage::complete() const {
  return static_cast<std::size_t>(std::count(written_.begin(), written_.end(), kAll));
}

std::size_t Coverage::first_incomplete() const {
  return static_cast<std::size_t>(
      std::find_if(written_.begin(), written_.end(), [](auto word) { return word != kAll; }) -
      written_.begin());
}

Attack::Attack(const AttachedSegment& segment, std::uint64_t seed)
    : segment_(segment),
      view_(segment.view()),
      words_(segment.words()),
      random_(seed),
      coverage_(words_.size()),
      regions_(regions_of(segment.header(), words_.size())) {}

const std::map<std::string, void (Attack::*)()>& Attack::kinds() {
  static const std::map<std::string, void (Attack::*)()> kinds{
      {"sweep", &Attack::sweep},       {"noise", &Attack::noise},
      {"ports", &Attack::ports},       {"lane_heads", &Attack::lane_heads},
      {"requests", &Attack::requests}, {"shown", &Attack::shown},
      {"holes", &Attack::holes},
  };
  return kinds;
}

void Attack::put(std::size_t word, std::uint64_t value) {
  words_[word].store(value, std::memory_order_relaxed);
  ++stores_;
}

std::size_t Attack::turn(std::size_t ways) {
  const std::uint64_t now = clock_ns(CLOCK_MONOTONIC);
  if (way_since_ns_ == 0) way_since_ns_ = now;
  if (now - way_since_ns_ > kTurnNs) {
    way_since_ns_ = now;
    if (++way_ % ways == 0) ++rounds_;
  }
  return way_ % ways;
}

void Attack::each_lane(const std::function<void(LaneHints&, const LaneInfo&)>& write) {
  for (std::uint32_t i = 0; i < view_.lane_count(); ++i) {
    const LaneInfo& info = view_.lane_info(i);
    if (info.generation.load(std::memory_order_relaxed) != 0) write(view_.lane_hints(i), info);
  }
}

void Attack::fill(const Region& region, Coverage::Value value) {
  for (std::size_t word = region.begin; word < region.end; ++word) {
    put(word, value == Coverage::zeros  ? 0
              : value == Coverage::ones ? ~std::uint64_t{0}
                                        : random_());
    coverage_.note(word, value);
  }
}

void Attack::sweep() {
  constexpr std::array kValues{Coverage::ones, Coverage::random, Coverage::zeros};
  const Region& region = regions_[way_ / kValues.size() % regions_.size()];
  const Coverage::Value value = kValues[way_ % kValues.size()];
  const std::uint64_t end = clock_ns(CLOCK_MONOTONIC) + kSweepTurnNs;
  do {
    fill(region, value);
  } while (clock_ns(CLOCK_MONOTONIC) < end);
  if (++way_ % (regions_.size() * kValues.size()) == 0) ++rounds_;
}

void Attack::noise() {
  for (int i = 0; i < 10'000; ++i) {
    const std::uint64_t number = random_();
    std::size_t word = pick(words_.size());
    if (i % 2 == 0) {
      const auto lane = static_cast<std::uint32_t>(pick(std::max(segment_.lanes(), 1U)));
      const std::size_t begin =
          (segment_.header().lane_hints.offset + lane * sizeof(LaneHints)) / 8;
      word = begin + pick(i % 4 == 0 ? 176 : sizeof(LaneHints) / 8);
    }
    auto* bytes = reinterpret_cast<unsigned char*>(&words_[word]);
    ++stores_;
    switch (number % 8) {
      case 0:
        std::atomic_ref(*reinterpret_cast<std::uint16_t*>(bytes + number / 8 % 4 * 2))
            .store(static_cast<std::uint16_t>(number >> 48));
        break;
      case 1:
      case 2:
        std::atomic_ref(*reinterpret_cast<std::uint32_t*>(bytes + number / 8 % 2 * 4))
            .store(static_cast<std::uint32_t>(number >> 32));
        break;
      default:
        put(word, number);
    }
  }
  ++rounds_;
}

void Attack::shown() {
  constexpr std::size_t kWays = 4;
  const std::size_t way = turn(kWays);
  const auto beat = static_cast<std::uint32_t>(segment_.header().heartbeat.load());
  HintsHeader& header = view_.hints();
  put(header.trace_until, beat + 1 + static_cast<std::uint32_t>(pick(40)));
  put(header.trace_head, way == 1 ? ~std::uint64_t{0} : random_());
  for (std::uint32_t i = 0; i < view_.trace_count(); ++i) {
    TraceEntry& entry = view_.trace(i);
    // As complete, as being written, as written by somebody far ahead.
    put(entry.sequence, way == 0 ? std::uint64_t{i} * 2 + 2 : way == 1 ? random_() | 1 : random_());
  }
  for (std::uint32_t i = 0; i < view_.attached_count(); ++i) {
    AttachedProcess& entry = view_.attached(i);
    const std::uint64_t owner = way == 0 ? 0 : random_();
    put(entry.owner, owner);
    put(entry.ready, way == 1 ? random_() : owner);
    put(entry.since_ns, way == 2 ? ~std::uint64_t{0} : random_());
    put(entry.pid_namespace, random_());
    for (auto& word : entry.comm) put(word, random_());
    for (auto& count : entry.connects) put(count, random_());
    put(entry.beat, beat);
  }
  for (std::uint32_t i = 0; i < view_.shard_count(); ++i) {
    auto* shard = reinterpret_cast<std::atomic<std::uint64_t>*>(&view_.shard(i));
    for (std::size_t word = 0; word < sizeof(Shard) / 8; ++word) {
      put(shard[word], way == 2 ? ~std::uint64_t{0} : way == 3 ? stores_ % 2 : random_());
    }
  }
}

void Attack::holes() {
  const off_t size = static_cast<off_t>(words_.size() * 8);
  const auto page = [this, size] {
    return static_cast<off_t>(pick(static_cast<std::uint64_t>(size / 4096))) * 4096;
  };
  switch (turn(3)) {
    case 0:
      fallocate(segment_.hints_fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, size);
      break;
    case 1:
      for (int i = 0; i < 100; ++i) {
        fallocate(segment_.hints_fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, page(), 4096);
      }
      break;
    default:
      fallocate(segment_.hints_fd(), 0, 0, size);
      fallocate(segment_.hints_fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, page(), 65536);
  }
  ++stores_;
}

}  // namespace portpool::test
