// What a measurement yields: named figures, some with a goal.
#pragma once

#include <nlohmann/json.hpp>
#include <ostream>
#include <string>
#include <vector>

namespace portpool::bench {

// Adds to `figures`, a JSON array of {"name", "value", "unit"}, with a goal {"goal", "at_least",
// "kept"} too.
void add_figure(nlohmann::json& figures, const std::string& name, double value,
                const std::string& unit);
void add_goal(nlohmann::json& figures, const std::string& name, double value,
              const std::string& unit, double goal, bool at_least);

// 0 without values.
double quantile(std::vector<double> values, double q);
inline double median(std::vector<double> values) { return quantile(std::move(values), 0.5); }
std::vector<double> scaled(const std::vector<std::uint64_t>& values, double divisor);

void print_figures(std::ostream& out, const std::string& title, const nlohmann::json& figures);

}  // namespace portpool::bench
