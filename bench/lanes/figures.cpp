#include "figures.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace portpool::bench {

void add_figure(nlohmann::json& figures, const std::string& name, double value,
                const std::string& unit) {
  figures.push_back({{"name", name}, {"value", value}, {"unit", unit}});
}

void add_goal(nlohmann::json& figures, const std::string& name, double value,
              const std::string& unit, double goal, bool at_least) {
  add_figure(figures, name, value, unit);
  figures.back()["goal"] = goal;
  figures.back()["at_least"] = at_least;
  figures.back()["kept"] = at_least ? value >= goal : value <= goal;
}

double quantile(std::vector<double> values, double q) {
  if (values.empty()) return 0;
  const auto rank = static_cast<std::ptrdiff_t>(std::min(
      std::floor(q * static_cast<double>(values.size())), static_cast<double>(values.size() - 1)));
  std::nth_element(values.begin(), values.begin() + rank, values.end());
  return values[static_cast<std::size_t>(rank)];
}

std::vector<double> scaled(const std::vector<std::uint64_t>& values, double divisor) {
  std::vector<double> result;
  for (const std::uint64_t value : values) result.push_back(static_cast<double>(value) / divisor);
  return result;
}

void print_figures(std::ostream& out, const std::string& title, const nlohmann::json& figures) {
  out << '\n' << title << '\n';
  for (const nlohmann::json& figure : figures) {
    char line[256];
    std::snprintf(line, sizeof line, "  %-58s %12.2f %-8s",
                  figure.at("name").get<std::string>().c_str(), figure.at("value").get<double>(),
                  figure.at("unit").get<std::string>().c_str());
    out << line;
    if (figure.contains("goal")) {
      std::snprintf(
          line, sizeof line, " %s (%s %g)", figure.at("kept").get<bool>() ? "kept" : "MISSED",
          figure.at("at_least").get<bool>() ? ">=" : "<=", figure.at("goal").get<double>());
      out << line;
    }
    out << '\n';
  }
  out << std::flush;
}

}  // namespace portpool::bench
