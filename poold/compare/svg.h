// A chart as SVG, without script or outside style: what it looks like is up to the page's classes.
// What tells something when it is pointed at has it as its title.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace portpool {

struct Tick {
  double at;
  std::string label;
};

class Axis {
 public:
  // Ticks at 1, 2 and 5, or at powers of ten only, by how many there are. `low` > 0; widened to
  // whole ticks.
  static Axis logarithmic(double low, double high);
  static Axis linear(double low, double high, std::vector<Tick> ticks);
  static Axis logarithmic(double low, double high, std::vector<Tick> ticks);

  // Where on the axis, 0 at its beginning and 1 at its end; what lies outside is moved to the edge.
  double place(double value) const;
  const std::vector<Tick>& ticks() const { return ticks_; }

 private:
  Axis(bool log, double low, double high, std::vector<Tick> ticks);

  bool log_;
  double low_;
  double high_;
  std::vector<Tick> ticks_;
};

// About `wanted` round steps from low to high.
std::vector<Tick> round_ticks(double low, double high, int wanted, std::string_view unit);

// Where things are in a chart, in the units that it is drawn in.
struct ChartSize {
  const char* css;
  double width;
  double height;
  double left;
  double right;  // room for the names of lines
  double top;
  double bottom;
  int ticks;  // about so many on a linear axis
};
// Drawn for a screen or paper, and for a phone: scaled down, the letters of the first could not be
// read there. The page shows one of the two.
inline constexpr ChartSize kWideChart{"wide", 760, 340, 70, 84, 14, 50, 8};
inline constexpr ChartSize kNarrowChart{"narrow", 330, 300, 60, 76, 12, 48, 4};

struct Point {
  double x;
  double y;
};

class Chart {
 public:
  // `title`: for those who do not see the picture.
  Chart(const ChartSize& size, std::string title, std::string x_label, std::string y_label, Axis x,
        Axis y);

  // The area between two lines, for intervals.
  void band(std::span<const Point> low, std::span<const Point> high, std::string_view css);
  // With its name beside its end, in the margin.
  void line(std::span<const Point> points, std::string_view css, std::string_view name = "");
  // css "pool" is drawn round, any other square: not by colour alone.
  void mark(Point at, std::string_view css, const std::string& tip);
  // An interval beside a mark.
  void whisker(double x, double low, double high, std::string_view css);
  void level(double y);
  void upright(double x, std::string_view label);
  // An invisible strip from x0 to x1 over the whole height that tells `tip`.
  void strip(double x0, double x1, const std::string& tip);

  std::string svg() const;

 private:
  std::string path(std::span<const Point> points, char first) const;
  double x_of(double value) const;
  double y_of(double value) const;

  ChartSize size_;
  std::string title_;
  std::string x_label_;
  std::string y_label_;
  Axis x_;
  Axis y_;
  std::string body_;
  std::vector<double> name_places_;
};

}  // namespace portpool
