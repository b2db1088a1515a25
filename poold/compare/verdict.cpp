#include "compare/verdict.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/number_text.h"
#include "compare/interval_text.h"

namespace portpool {
namespace {

// Below this, a ratio is told as a percentage.
constexpr double kTimes = 1.5;

std::string evidence(const QuantileRow& row, const SignedRank& test) {
  return fmt::format("(ratio {}, 95 % interval {} to {}; {})", ratio_text(row.ratio->value),
                     ratio_text(row.ratio->low), ratio_text(row.ratio->high), p_text(test.p));
}

std::string both(const QuantileRow& row) {
  return fmt::format("{} us against {} us", us_text(row.pool->value), us_text(row.kernel->value));
}

// "203 times as fast with the pool" or "takes 4.2 % (0.8 us) more time with the pool".
std::string how_much(const QuantileRow& row) {
  const double ratio = row.ratio->value;
  if (ratio >= kTimes) return fmt::format("is {} times as fast with the pool", ratio_text(ratio));
  const double pool = row.pool->value;
  const double kernel = row.kernel->value;
  const double share = std::abs(pool / kernel - 1);
  if (share >= kTimes)
    return fmt::format("takes {} times as long with the pool", ratio_text(1 / ratio));
  return fmt::format("takes {} ({} us) {} time with the pool", percent_text(share),
                     us_text(std::abs(pool - kernel)), pool < kernel ? "less" : "more");
}

std::string tail_sentence(const QuantileRow& p99) {
  if (!p99.ratio) return "";
  if (p99.differs())
    return fmt::format("At p99 it {}: {} (ratio {}).", how_much(p99), both(p99),
                       ratio_text(*p99.ratio));
  return fmt::format("At p99 no significant difference: {} (ratio {}).", both(p99),
                     ratio_text(*p99.ratio));
}

Verdict verdict_of(const Comparison& c) {
  if (!c.two_arms) return c.connects() == 0 ? Verdict::no_connects : Verdict::measured;
  if (c.pairs > 0 && c.connects() == 0) return Verdict::no_connects;
  if (c.pairs < kFewestPairs) return Verdict::too_few_blocks;
  if (c.differences.size() < kFewestPairs || !c.quantiles[0].ratio) return Verdict::too_few_samples;
  if (c.medians.p >= kSignificance || !c.quantiles[0].differs()) return Verdict::no_difference;
  return c.quantiles[0].ratio->value > 1 ? Verdict::pool_faster : Verdict::pool_slower;
}

std::string measured_sentence(const Comparison& c) {
  const std::uint64_t kernel = c.kernel.latency.count;
  std::string text = fmt::format(
      "{} TCP connects, {} of them on the kernel's path.", count_text(c.connects()),
      kernel == 0 ? "none"
                  : percent_text(static_cast<double>(kernel) / static_cast<double>(c.connects())));
  for (const auto& [name, found] :
       {std::pair("pool", &QuantileRow::pool), std::pair("kernel", &QuantileRow::kernel)}) {
    const std::optional<Interval>& median = c.quantiles[0].*found;
    const std::optional<Interval>& p99 = c.quantiles[2].*found;
    if (!median) continue;
    text += fmt::format(" By the {}: median {} us", name, us_text(*median));
    text += p99 ? fmt::format(", p99 {} us.", us_text(*p99)) : ".";
  }
  return text;
}

std::string sentence_of(const Comparison& c) {
  const QuantileRow& median = c.quantiles[0];
  switch (c.verdict) {
    case Verdict::measured:
      return measured_sentence(c);
    case Verdict::no_connects:
      return c.two_arms
                 ? "No verdict: no TCP connect passed through the shim. Is a program running "
                   "under it, and connecting? poold status shows how many are attached."
                 : "No connects in this time: no TCP connect passed through the shim.";
    case Verdict::too_few_blocks:
      return fmt::format(
          "No verdict: too few blocks, {} complete {} of them where {} are needed. Measure longer, "
          "or in shorter blocks (--block of poold compare).",
          c.pairs, c.pairs == 1 ? "pair" : "pairs", kFewestPairs);
    case Verdict::too_few_samples:
      return fmt::format(
          "No verdict: too few samples. Of {} pairs of blocks {} have {} connects in each block; "
          "{} "
          "are needed. Measure under more load, or in longer blocks (--block of poold compare).",
          c.pairs, c.differences.size(), kFewestConnects, kFewestPairs);
    case Verdict::no_difference:
      return fmt::format("No significant difference at the median: {} with the pool {}.",
                         both(median), evidence(median, c.medians));
    case Verdict::pool_faster:
    case Verdict::pool_slower:
      return fmt::format("connect() {}: {} at the median {}.", how_much(median), both(median),
                         evidence(median, c.medians));
  }
  return "";
}

void add_notes_on_calls(Comparison& c) {
  const auto share = [](std::uint64_t part, std::uint64_t all) {
    return all == 0 ? 0 : static_cast<double>(part) / static_cast<double>(all);
  };
  if (const double fell = share(c.pool.fallbacks, c.pool.latency.count);
      c.two_arms && fell > 0.05) {
    c.notes.push_back(fmt::format(
        "{} of the pool arm's connects took the kernel's path after all; its figures include them.",
        percent_text(fell)));
  }
  const double pool_failed = share(c.pool.latency.errors, c.pool.latency.count);
  const double kernel_failed = share(c.kernel.latency.errors, c.kernel.latency.count);
  if (std::max(pool_failed, kernel_failed) > 0.01) {
    const std::string arms = fmt::format("{} of the pool's connects and {} of the kernel's",
                                         percent_text(pool_failed), percent_text(kernel_failed));
    c.notes.push_back(fmt::format(
        "{} ended in an error. The time that they took is in the figures: read these with care.",
        c.two_arms
            ? arms
            : percent_text(share(c.pool.latency.errors + c.kernel.latency.errors, c.connects())) +
                  " of the connects"));
  }
  std::uint64_t strays = 0;
  for (const Block& block : c.blocks) strays += block.other_arm;
  if (const double stray = share(strays, c.connects()); stray > 0.05) {
    c.notes.push_back(fmt::format(
        "{} connects ended in a block of the other arm ({} of all): they lasted past its end, the "
        "machine was too busy for the switch to be seen at once, or programs run with "
        "PORTPOOL_MODE=observe. They are not counted.",
        count_text(strays), percent_text(stray)));
  }
}

void add_note_on_merging(Comparison& c) {
  std::uint32_t most = 1;
  std::uint64_t measured = 0;
  for (const Block& block : c.blocks) {
    most = std::max(most, block.merged);
    measured += block.merged;
  }
  if (most == 1 || !c.two_arms) return;
  c.notes.push_back(
      fmt::format("{} pairs of blocks were measured; {} neighbouring ones each count as one.",
                  count_text(measured / 2), most));
}

void add_notes(Comparison& c, const Trial& trial) {
  c.notes = trial.remarks;
  if (c.verdict == Verdict::no_difference &&
      (c.medians.p < kSignificance) != c.quantiles[0].differs()) {
    c.notes.emplace_back(
        "The test of the medians and the interval of their ratio do not agree: a "
        "borderline case. Measure longer.");
  }
  if (c.verdict >= Verdict::no_difference && c.pairs < 10) {
    c.notes.emplace_back(
        "With fewer than 10 pairs of blocks the intervals are rough, and rather too "
        "narrow than too wide.");
  }
  std::string missing;
  for (const QuantileRow& row : c.quantiles) {
    const bool told = c.two_arms ? row.pool && row.kernel : row.pool || row.kernel;
    if (!told) missing += (missing.empty() ? "" : ", ") + row.label;
  }
  if (!missing.empty() && c.connects() > 0) {
    c.notes.push_back(
        fmt::format("Too few samples for {}: at least 10 connects must lie beyond it.", missing));
  }
  add_notes_on_calls(c);
  add_note_on_merging(c);
  if (trial.dropped_s > 0) {
    c.notes.push_back(fmt::format(
        "The first {} of each block are not counted: caches and ports are then still those of the "
        "block before.",
        seconds_text(trial.dropped_s)));
  }
}

}  // namespace

const char* name_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::measured:
      return "measured";
    case Verdict::no_connects:
      return "no_connects";
    case Verdict::too_few_blocks:
      return "too_few_blocks";
    case Verdict::too_few_samples:
      return "too_few_samples";
    case Verdict::no_difference:
      return "no_significant_difference";
    case Verdict::pool_faster:
      return "pool_faster";
    case Verdict::pool_slower:
      return "pool_slower";
  }
  return "unknown";
}

void judge(Comparison& comparison, const Trial& trial) {
  comparison.verdict = verdict_of(comparison);
  comparison.sentence = sentence_of(comparison);
  if (comparison.verdict >= Verdict::no_difference) {
    comparison.tail = tail_sentence(comparison.quantiles[2]);
  }
  add_notes(comparison, trial);
}

}  // namespace portpool
