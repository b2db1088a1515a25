#include "system/metrics/exposition.h"

#include <algorithm>
#include <regex>
#include <sstream>
#include <stdexcept>

namespace portpool::test {
namespace {

Labels labels_of(const std::string& text) {
  static const std::regex kLabel("([a-z_]+)=\"([^\"]*)\"");
  Labels labels;
  for (std::sregex_iterator i(text.begin(), text.end(), kLabel), end; i != end; ++i) {
    labels[(*i)[1]] = (*i)[2];
  }
  return labels;
}

}  // namespace

Exposition::Exposition(const std::string& text) {
  static const std::regex kType("# TYPE ([a-z_]+) ([a-z]+)");
  static const std::regex kSample("([a-z_]+)(\\{(.*)\\})? ([-+0-9.eInfNa]+)");
  std::istringstream lines(text);
  std::smatch match;
  for (std::string line; std::getline(lines, line);) {
    if (std::regex_match(line, match, kType)) {
      families_[match[1]] = match[2];
    } else if (line.starts_with("# HELP ")) {
      continue;
    } else if (!std::regex_match(line, match, kSample)) {
      throw std::runtime_error("not understood: " + line);
    } else if (!samples_[match[1]].emplace(labels_of(match[3]), std::stod(match[4])).second) {
      throw std::runtime_error("twice: " + line);
    }
  }
}

double Exposition::value(const std::string& name, const Labels& labels) const {
  return series(name).at(labels);
}

const std::map<Labels, double>& Exposition::series(const std::string& name) const {
  return samples_.at(name);
}

double Exposition::sum(const std::string& name, const Labels& labels) const {
  double sum = 0;
  for (const auto& sample : series(name)) {
    const Labels& own = sample.first;
    const bool matches = std::all_of(labels.begin(), labels.end(), [&](const auto& wanted) {
      const auto found = own.find(wanted.first);
      return found != own.end() && found->second == wanted.second;
    });
    if (matches) sum += sample.second;
  }
  return sum;
}

}  // namespace portpool::test
