// Prometheus's text format, read apart. promtool is the judge of its form; this finds the numbers.
#pragma once

#include <map>
#include <set>
#include <string>

namespace portpool::test {

using Labels = std::map<std::string, std::string>;

class Exposition {
 public:
  // Throws std::runtime_error on a line that it does not understand, and on a series that occurs
  // twice.
  explicit Exposition(const std::string& text);

  // Throws std::out_of_range when there is no such series.
  double value(const std::string& name, const Labels& labels = {}) const;
  // All series of this name.
  const std::map<Labels, double>& series(const std::string& name) const;
  // The sum of those that have these labels, and perhaps others.
  double sum(const std::string& name, const Labels& labels = {}) const;

  // Names after # TYPE, with the type.
  const std::map<std::string, std::string>& families() const { return families_; }

 private:
  std::map<std::string, std::map<Labels, double>> samples_;
  std::map<std::string, std::string> families_;
};

}  // namespace portpool::test
