#include "compare/svg.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/text.h"

namespace portpool {
namespace {

constexpr double kNameHeight = 14;
constexpr double kLetterWidth = 7.5;  // of most letters, at most

// Short: there is little room on a phone.
std::string tick_label(double value) {
  if (value >= 1e6) return fmt::format("{:g}M", value / 1e6);
  return value >= 1e3 ? fmt::format("{:g}k", value / 1e3) : fmt::format("{:g}", value);
}

}  // namespace

Axis::Axis(bool log, double low, double high, std::vector<Tick> ticks)
    : log_(log), low_(low), high_(high), ticks_(std::move(ticks)) {}

Axis Axis::linear(double low, double high, std::vector<Tick> ticks) {
  return {false, low, high, std::move(ticks)};
}

Axis Axis::logarithmic(double low, double high, std::vector<Tick> ticks) {
  return {true, low, high, std::move(ticks)};
}

Axis Axis::logarithmic(double low, double high) {
  high = std::max(high, low * 1.2);
  const double decades = std::log10(high / low);
  const std::vector<double> steps =
      decades > 3     ? std::vector<double>{1}
      : decades > 0.7 ? std::vector<double>{1, 2, 5}
                      : std::vector<double>{1, 1.2, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9};
  std::vector<Tick> all;
  for (double power = std::pow(10, std::floor(std::log10(low)) - 1); power < high * 10;
       power *= 10) {
    for (const double step : steps) all.push_back({step * power, tick_label(step * power)});
  }
  std::size_t first = 0;
  while (first + 1 < all.size() && all[first + 1].at <= low * (1 + 1e-9)) ++first;
  std::size_t last = first + 1;
  while (last + 1 < all.size() && all[last].at < high * (1 - 1e-9)) ++last;
  const auto at = [&](std::size_t i) { return all.begin() + static_cast<std::ptrdiff_t>(i); };
  return {true, all[first].at, all[last].at, {at(first), at(last + 1)}};
}

double Axis::place(double value) const {
  const double share = log_ ? std::log(std::max(value, low_) / low_) / std::log(high_ / low_)
                            : (value - low_) / (high_ - low_);
  return std::clamp(share, 0.0, 1.0);
}

std::vector<Tick> round_ticks(double low, double high, int wanted, std::string_view unit) {
  const double raw = (high - low) / wanted;
  const double power = std::pow(10, std::floor(std::log10(raw)));
  const double step = power * (raw / power <= 1   ? 1
                               : raw / power <= 2 ? 2
                               : raw / power <= 5 ? 5
                                                  : 10);
  std::vector<Tick> ticks;
  for (double i = std::ceil(low / step - 1e-9); i * step <= high + step * 1e-9; ++i) {
    if (i == 0) i = 0;  // not -0
    ticks.push_back({i * step, fmt::format("{:g}{}", i * step, unit)});
  }
  return ticks;
}

Chart::Chart(const ChartSize& size, std::string title, std::string x_label, std::string y_label,
             Axis x, Axis y)
    : size_(size),
      title_(std::move(title)),
      x_label_(std::move(x_label)),
      y_label_(std::move(y_label)),
      x_(std::move(x)),
      y_(std::move(y)) {}

double Chart::x_of(double value) const {
  return size_.left + x_.place(value) * (size_.width - size_.left - size_.right);
}

double Chart::y_of(double value) const {
  return size_.height - size_.bottom - y_.place(value) * (size_.height - size_.top - size_.bottom);
}

std::string Chart::path(std::span<const Point> points, char first) const {
  std::string text;
  for (const Point& point : points) {
    text +=
        fmt::format("{}{:.1f} {:.1f}", text.empty() ? first : 'L', x_of(point.x), y_of(point.y));
  }
  return text;
}

void Chart::band(std::span<const Point> low, std::span<const Point> high, std::string_view css) {
  if (low.size() < 2) return;
  const std::vector<Point> back(low.rbegin(), low.rend());
  body_ +=
      fmt::format("<path class=\"band {}\" d=\"{}{}Z\"/>\n", css, path(high, 'M'), path(back, 'L'));
}

void Chart::line(std::span<const Point> points, std::string_view css, std::string_view name) {
  if (points.empty()) return;
  body_ += fmt::format("<path class=\"line {}\" d=\"{}\"/>\n", css, path(points, 'M'));
  if (name.empty()) return;
  // A name moves off one that stands there already.
  double y = y_of(points.back().y) + 4;
  for (const double other : name_places_) {
    if (std::abs(y - other) < kNameHeight) y = other + (y < other ? -kNameHeight : kNameHeight);
  }
  name_places_.push_back(y);
  body_ += fmt::format("<text class=\"name {}\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n", css,
                       size_.width - size_.right + 6, y, html_escape(name));
}

void Chart::mark(Point at, std::string_view css, const std::string& tip) {
  const double x = x_of(at.x);
  const double y = y_of(at.y);
  const std::string title = "<title>" + html_escape(tip) + "</title>";
  if (css == "pool") {
    body_ +=
        fmt::format("<circle class=\"mark {}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4.2\">{}</circle>\n",
                    css, x, y, title);
  } else {
    body_ += fmt::format(
        "<rect class=\"mark {}\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"7.6\" "
        "height=\"7.6\">{}</rect>\n",
        css, x - 3.8, y - 3.8, title);
  }
}

void Chart::whisker(double x, double low, double high, std::string_view css) {
  body_ += fmt::format("<path class=\"whisker {}\" d=\"M{:.1f} {:.1f}V{:.1f}\"/>\n", css, x_of(x),
                       y_of(low), y_of(high));
}

void Chart::level(double y) {
  body_ += fmt::format("<path class=\"level\" d=\"M{:.1f} {:.1f}H{:.1f}\"/>\n", size_.left, y_of(y),
                       size_.width - size_.right);
}

void Chart::upright(double x, std::string_view label) {
  body_ += fmt::format(
      "<path class=\"level\" d=\"M{:.1f} {:.1f}V{:.1f}\"/><text class=\"note\" x=\"{:.1f}\" "
      "y=\"{:.1f}\">{}</text>\n",
      x_of(x), size_.top, size_.height - size_.bottom, x_of(x) + 5, size_.top + 12,
      html_escape(label));
}

void Chart::strip(double x0, double x1, const std::string& tip) {
  body_ += fmt::format(
      "<rect class=\"strip\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" "
      "height=\"{:.1f}\"><title>{}</title></rect>\n",
      x_of(x0), size_.top, std::max(0.0, x_of(x1) - x_of(x0)),
      size_.height - size_.top - size_.bottom, html_escape(tip));
}

std::string Chart::svg() const {
  const double bottom = size_.height - size_.bottom;
  std::string text = fmt::format(
      "<svg class=\"{}\" viewBox=\"0 0 {} {}\" role=\"group\" aria-label=\"{}\">\n"
      "<g class=\"axes\" aria-hidden=\"true\">\n",
      size_.css, size_.width, size_.height, html_escape(title_));
  for (const Tick& tick : y_.ticks()) {
    text += fmt::format(
        "<path class=\"grid\" d=\"M{:.1f} {:.1f}H{:.1f}\"/><text x=\"{:.1f}\" y=\"{:.1f}\" "
        "text-anchor=\"end\">{}</text>\n",
        size_.left, y_of(tick.at), size_.width - size_.right, size_.left - 8, y_of(tick.at) + 4,
        html_escape(tick.label));
  }
  double free = 0;  // where the next label may begin
  for (const Tick& tick : x_.ticks()) {
    const double x = x_of(tick.at);
    text += fmt::format("<path class=\"grid\" d=\"M{:.1f} {:.1f}V{:.1f}\"/>", x, size_.top, bottom);
    const double half = static_cast<double>(tick.label.size()) * kLetterWidth / 2;
    if (x - half >= free) {
      free = x + half + kLetterWidth;
      text += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>", x,
                          bottom + 18, html_escape(tick.label));
    }
    text += "\n";
  }
  text += fmt::format(
      "<text class=\"label\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>\n",
      (size_.left + size_.width - size_.right) / 2, size_.height - 8, html_escape(x_label_));
  text += fmt::format(
      "<text class=\"label\" transform=\"translate(13 {:.1f}) rotate(-90)\" "
      "text-anchor=\"middle\">{}</text>\n</g>\n",
      (size_.top + bottom) / 2, html_escape(y_label_));
  return text + body_ + "</svg>\n";
}

}  // namespace portpool
