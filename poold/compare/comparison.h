// What a trial says: figures of each arm with intervals, and a verdict.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "compare/bootstrap.h"
#include "compare/signed_rank.h"
#include "compare/trial.h"

namespace portpool {

// Fewer pairs of blocks than this give no verdict: with six the smallest p-value that the test can
// give is 2 / 2^6 = 0.031, with five it is 0.063.
inline constexpr std::size_t kFewestPairs = 6;
// Blocks with fewer connects have no median worth a comparison.
inline constexpr std::uint64_t kFewestConnects = 10;
inline constexpr double kSignificance = 0.05;

enum class Verdict {
  measured,         // a trial with one arm
  no_connects,      // nothing passed through the shim
  too_few_blocks,   // fewer than kFewestPairs
  too_few_samples,  // fewer than kFewestPairs of them with kFewestConnects in both blocks
  no_difference,
  pool_faster,
  pool_slower,
};
const char* name_of(Verdict verdict);

inline bool excludes_one(const Interval& ratio) { return ratio.low > 1 || ratio.high < 1; }

struct QuantileRow {
  double q = 0;
  std::string label;  // "p99"
  // In us; nothing where fewer than kCallsBeyond calls lie beyond it.
  std::optional<Interval> pool;
  std::optional<Interval> kernel;
  // kernel / pool: above 1 the pool is faster.
  std::optional<Interval> ratio;
  // The interval of the ratio does not contain 1.
  bool differs() const { return ratio && excludes_one(*ratio); }
};

struct ArmTotals {
  std::size_t blocks = 0;
  double seconds = 0;
  LatencySum latency;
  std::uint64_t fallbacks = 0;
  std::optional<Interval> cpu_us;  // per connect, of those sampled
  // Of its blocks; nothing when no lane was seen.
  struct Range {
    double low, median, high;
  };
  std::optional<Range> occupancy;
};

struct PairDifference {
  double at_s = 0;
  double pool_us = 0;  // medians
  double kernel_us = 0;
  double ratio() const { return kernel_us / pool_us; }
};

// A figure here and in an earlier run.
struct Change {
  std::string figure;  // as in figures.h
  std::optional<Interval> before;
  std::optional<Interval> now;
  std::optional<Interval> ratio;  // now / before
};

struct Against {
  std::string file;
  std::string subject;   // of the earlier run
  std::string measured;  // when that was
  std::vector<Change> changes;
};

// What every report says below such a table.
inline constexpr const char* kAgainstCaution =
    "The intervals hold what varied within the two runs, not what differed between them (load, "
    "peer, "
    "ports taken): so there is no p-value. Where the kernel's arm has changed as well, look there "
    "first.";

struct Comparison {
  bool two_arms = true;
  Verdict verdict = Verdict::no_connects;
  std::string sentence;
  std::string tail;  // a sentence on p99; empty when there is nothing to say
  std::vector<std::string> notes;
  std::size_t pairs = 0;
  // With one arm, here and below: what ended on this path. Nothing is compared then.
  ArmTotals pool;
  ArmTotals kernel;
  std::uint64_t connects() const { return pool.latency.count + kernel.latency.count; }
  std::array<QuantileRow, 4> quantiles;  // p50, p90, p99, p99.9
  std::optional<Interval> cpu_ratio;     // kernel / pool
  SignedRank medians;                    // over the logarithms of differences' ratios
  std::vector<PairDifference> differences;
  std::vector<QuantileRow> curve;  // ascending in q, as far as there are calls enough
  std::vector<Block> blocks;       // those that count: of complete pairs
  std::optional<Against> against;  // where there is an earlier run (baseline.h)
};

// Intervals come from trial.seed. two_arms false: all blocks are of one arm, nothing is compared.
Comparison compare(const Trial& trial, bool two_arms);

std::string comparison_as_json(const Comparison& comparison, const Trial& trial);
std::string comparison_as_text(const Comparison& comparison, const Trial& trial);
std::string comparison_as_markdown(const Comparison& comparison, const Trial& trial);
// The one page: see report.html.in.
std::string comparison_as_html(const Comparison& comparison, const Trial& trial);

}  // namespace portpool
