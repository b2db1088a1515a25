#include "compare/baseline.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/text.h"
#include "compare/figures.h"

namespace portpool {
namespace {

using Saved = nlohmann::json;

Saved saved_comparison(const std::string& file) {
  errno = 0;
  std::ifstream stream(file, std::ios::binary);
  // A folder can be opened, and fails at the first byte.
  if (!stream || (stream.peek() == std::ifstream::traits_type::eof() && stream.bad())) {
    throw UserError(with_errno("cannot read " + for_terminal(file)));
  }
  const std::string text{std::istreambuf_iterator<char>(stream), {}};
  Saved root = Saved::parse(text, nullptr, false);
  const bool known = root.is_object() && root.contains("percentiles") && root.contains("arms") &&
                     root.value("schema", Saved()) == 1;
  if (!known) {
    throw UserError(fmt::format("{} is not what poold compare --json has written (of schema 1)",
                                for_terminal(file)));
  }
  return root;
}

std::optional<Interval> saved_interval(const Saved& from) {
  if (!from.is_object()) return std::nullopt;
  for (const char* name : {"value", "low", "high"}) {
    if (!from.contains(name) || !from.at(name).is_number()) return std::nullopt;
  }
  return Interval{from.at("value"), from.at("low"), from.at("high")};
}

}  // namespace

Baseline::Baseline(const std::string& file) : file_(file) {
  const Saved root = saved_comparison(file);
  const auto keep = [&](const std::string& name, const Saved& from) {
    if (const auto found = saved_interval(from)) found_.emplace(name, *found);
  };
  try {
    subject_ = root.value("subject", "");
    if (root.contains("environment")) measured_ = root.at("environment").value("measured", "");
    for (const Saved& row : root.at("percentiles")) {
      std::string name = fmt::format("p{:g}", row.at("percentile").get<double>());
      std::erase(name, '.');
      keep("pool_" + name + "_us", row.at("pool_us"));
      keep("kernel_" + name + "_us", row.at("kernel_us"));
      keep(name + "_ratio", row.at("ratio"));
    }
    for (const char* arm : {"pool", "kernel"}) {
      keep(std::string(arm) + "_cpu_us", root.at("arms").at(arm).at("cpu_us"));
    }
    keep("cpu_ratio", root.value("cpu_ratio", Saved()));
  } catch (const Saved::exception& error) {
    throw UserError(fmt::format("{}: not as poold compare --json writes it: {}", for_terminal(file),
                                for_terminal(error.what())));
  }
}

Against Baseline::against(const Comparison& comparison) const {
  Against against{file_, subject_, measured_, {}};
  for (const Estimate& estimate : estimates_of(comparison)) {
    Change change{estimate.name, {}, estimate.found, {}};
    if (const auto before = found_.find(estimate.name); before != found_.end()) {
      change.before = before->second;
    }
    if (change.before && change.now) {
      change.ratio = ratio_of_independent(*change.now, *change.before);
    }
    against.changes.push_back(std::move(change));
  }
  return against;
}

std::optional<Interval> ratio_of_independent(const Interval& now, const Interval& before) {
  const auto usable = [](const Interval& i) {
    return i.low > 0 && i.value > 0 && i.high > 0 && std::isfinite(i.value + i.high);
  };
  if (!usable(now) || !usable(before)) return std::nullopt;
  // A value may lie just outside its interval: that is one of resamples.
  const auto distance = [](double a, double b) { return std::max(0.0, std::log(a / b)); };
  const double down = std::hypot(distance(now.value, now.low), distance(before.high, before.value));
  const double up = std::hypot(distance(now.high, now.value), distance(before.value, before.low));
  const double ratio = now.value / before.value;
  return Interval{ratio, ratio * std::exp(-down), ratio * std::exp(up)};
}

}  // namespace portpool
