// Lines of styled text, as a page is made of, and the short forms of numbers in it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace portpool {

// `bar`: its characters stand for filled cells. `spark`, `chosen_spark`: digits from 0 to 8, for
// cells that are filled from below by so many eighths.
enum class Style { plain, title, heading, chosen, dim, good, warn, bad, bar, spark, chosen_spark };

// ASCII only: one byte is one cell.
struct Span {
  Style style = Style::plain;
  std::string text;
};
using Line = std::vector<Span>;

std::size_t width_of(const Line& line);
// At most `width` cells of it.
Line clipped(const Line& line, std::size_t width);

// A level of `spark` where there is ASCII alone.
char spark_in_ascii(char level);

// Without its styles, and without blanks at its end; ends with a newline.
std::string plain_text(const Line& line);

// The middle replaced by "~" when it is longer than `width`: the ends of an address tell most.
std::string shortened(const std::string& text, std::size_t width);

// "0", "7.3", "12345", "123k", "1.2M".
std::string short_rate(double value);
std::string short_count(std::uint64_t value);
// Microseconds: "0.4", "26.1", "1758"; "163ms" and "17.2s" from a tenth of a second on.
std::string short_us(double us);
// "59s", "12m03s", "3h05m", "2d04h".
std::string short_age(double seconds);

}  // namespace portpool
