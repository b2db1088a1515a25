// Text in the language of man(7).
#pragma once

#include <string>
#include <string_view>

namespace portpool {

// As it stands: "-" is a hyphen unless it is escaped, and a line that begins with "." or "'" a
// request.
std::string roff(std::string_view text);

std::string in_bold(std::string_view text);
std::string in_italics(std::string_view text);

// The first lines of a page, up to what it is about.
std::string page_heading(std::string_view name, int section, std::string_view what);

// A term, which is roff already, and what is said of it.
std::string tagged(std::string_view term, std::string_view text);

// The page with no line longer than a terminal's, where its words allow.
std::string filled(std::string_view page);

}  // namespace portpool
