// Text that others wrote, made fit for a terminal, for HTML and for JSON. Names of processes, paths
// and the segment's own strings may hold any bytes.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace portpool {

// The length, 1 to 4 bytes, of the UTF-8 character that `text`, which is not empty, begins with; 0
// when it begins with none (Unicode 15, table 3-7: neither overlong forms nor surrogates).
std::size_t utf8_length(std::string_view text);

// JSON and the labels of Prometheus must be that, or the whole document is refused.
bool is_utf8(std::string_view text);

// For a terminal or a log, one line: printable UTF-8 stays. Controls (C0, DEL, C1), line and
// paragraph separators, characters that change the direction of writing, and bytes that are no
// UTF-8 become "?".
std::string for_terminal(std::string_view text);

// For text of several lines that this program laid out itself: as for_terminal(), but newlines
// stay.
std::string lines_for_terminal(std::string_view text);

// Without `blanks` at its ends.
std::string_view trimmed(std::string_view text, std::string_view blanks = " \t");

// What stands between blanks and tabs.
std::vector<std::string_view> words_of(std::string_view line);

// One argument in a POSIX shell, quoted only where that is needed. Text with controls stays as it
// is within the quotes: sanitise what is shown.
std::string shell_quote(std::string_view text);

// Where columns count: whatever is not printable ASCII becomes "?".
std::string printable(std::string text);

// Columns: what all output fits into where it can.
inline constexpr std::size_t kTerminalWidth = 80;

// In lines of at most `width` bytes where its words allow, each after `indent` spaces; ends with a
// newline.
std::string wrapped(std::string_view text, std::size_t width, std::size_t indent);

// For text in HTML and SVG, in elements and in attributes with quotes of either kind. Bytes that no
// document may hold become U+FFFD.
std::string html_escape(std::string_view text);

// NO_COLOR (no-color.org): set and not empty.
bool colours_are_refused();

}  // namespace portpool
