// The latency histogram: log-linear buckets (32 per doubling, so at most 1/32 = 3.1 % wide),
// from 64 ns to 17 s; smaller and larger values fall into the first and the last bucket.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace portpool {

inline constexpr unsigned kLatencySubBits = 5;
inline constexpr unsigned kLatencyFirstOctave = 6;  // 2^6 ns
inline constexpr unsigned kLatencyLastOctave = 33;  // up to 2^34 ns - 1
inline constexpr std::size_t kLatencyBuckets = (kLatencyLastOctave - kLatencyFirstOctave + 1)
                                               << kLatencySubBits;

constexpr std::size_t latency_bucket(std::uint64_t ns) {
  constexpr std::uint64_t kLow = std::uint64_t{1} << kLatencyFirstOctave;
  constexpr std::uint64_t kHigh = (std::uint64_t{1} << (kLatencyLastOctave + 1)) - 1;
  const std::uint64_t value = ns < kLow ? kLow : ns > kHigh ? kHigh : ns;
  const unsigned octave = static_cast<unsigned>(std::bit_width(value)) - 1;
  const std::uint64_t sub = (value >> (octave - kLatencySubBits)) & ((1U << kLatencySubBits) - 1);
  return ((octave - kLatencyFirstOctave) << kLatencySubBits) + static_cast<std::size_t>(sub);
}

// The smallest value, in ns, of a bucket; for kLatencyBuckets the end of the last one.
constexpr std::uint64_t latency_bucket_low(std::size_t bucket) {
  const unsigned octave = static_cast<unsigned>(bucket >> kLatencySubBits) + kLatencyFirstOctave;
  const std::uint64_t sub = bucket & ((1U << kLatencySubBits) - 1);
  return ((std::uint64_t{1} << kLatencySubBits) + sub) << (octave - kLatencySubBits);
}

struct LatencyHistogram {
  std::atomic<std::uint64_t> sum_ns;
  std::atomic<std::uint64_t> max_ns;
  std::atomic<std::uint64_t> buckets[kLatencyBuckets];
  std::atomic<std::uint64_t> cpu_ns;       // thread CPU time of the sampled calls (mode ab alone)
  std::atomic<std::uint64_t> cpu_samples;  // how many calls that is
  std::atomic<std::uint64_t> errors;       // calls that ended in an error (EINPROGRESS is none)
  std::atomic<std::uint64_t> no_port;      // those of them with EADDRNOTAVAIL
  std::uint64_t reserved[2];

  // Relaxed throughout: readers want totals, not an order. Safe from any thread or signal handler.
  void record(std::uint64_t ns) {
    buckets[latency_bucket(ns)].fetch_add(1, std::memory_order_relaxed);
    sum_ns.fetch_add(ns, std::memory_order_relaxed);
    std::uint64_t seen = max_ns.load(std::memory_order_relaxed);
    while (ns > seen && !max_ns.compare_exchange_weak(seen, ns, std::memory_order_relaxed)) {
    }
  }
};
static_assert(sizeof(LatencyHistogram) % 64 == 0);

// The arm that was assigned to a call, and the path on which it ended.
enum class Route : std::uint32_t { pool = 0, kernel = 1 };

inline constexpr std::size_t kHistograms = 8;

constexpr std::size_t histogram_index(Route arm, Route path, bool blocking) {
  return static_cast<std::size_t>(arm) * 4 + static_cast<std::size_t>(path) * 2 +
         (blocking ? 1 : 0);
}

}  // namespace portpool
