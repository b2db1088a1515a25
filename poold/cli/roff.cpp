#include "cli/roff.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "base/text.h"

namespace portpool {
namespace {

std::string replaced(std::string text, std::string_view what, std::string_view by) {
  for (std::size_t at = 0; (at = text.find(what, at)) != text.npos; at += by.size()) {
    text.replace(at, what.size(), by);
  }
  return text;
}

bool is_request(std::string_view line) { return line.starts_with('.') || line.starts_with('\''); }

}  // namespace

std::string roff(std::string_view text) {
  std::string escaped = replaced(replaced(std::string(text), "\\", "\\e"), "-", "\\-");
  if (is_request(escaped)) escaped.insert(0, "\\&");
  return replaced(replaced(escaped, "\n.", "\n\\&."), "\n'", "\n\\&'");
}

std::string in_bold(std::string_view text) { return "\\fB" + roff(text) + "\\fR"; }
std::string in_italics(std::string_view text) { return "\\fI" + roff(text) + "\\fR"; }

std::string page_heading(std::string_view name, int section, std::string_view what) {
  std::string upper(name);
  std::transform(upper.begin(), upper.end(), upper.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return fmt::format(".TH {} {} \"\" \"portpool {}\" portpool\n.SH NAME\n{} \\- {}\n", roff(upper),
                     section, PORTPOOL_VERSION, roff(name), roff(what));
}

std::string tagged(std::string_view term, std::string_view text) {
  return fmt::format(".TP\n{}\n{}\n", term, roff(text));
}

std::string filled(std::string_view page) {
  std::string text;
  bool as_it_is = false;  // between .EX and .EE
  while (!page.empty()) {
    const std::size_t end = std::min(page.find('\n'), page.size() - 1);
    const std::string_view line = page.substr(0, end);
    page.remove_prefix(end + 1);
    if (line == ".EX" || line == ".EE") as_it_is = line == ".EX";
    if (as_it_is || is_request(line) || line.size() < kTerminalWidth) {
      text += std::string(line) + "\n";
      continue;
    }
    const std::string lines = wrapped(line, kTerminalWidth - 2, 0);  // two for what is put before
    for (std::size_t at = 0; at < lines.size();) {
      const std::size_t stop = lines.find('\n', at);
      const std::string one = lines.substr(at, stop - at);
      text += (is_request(one) ? "\\&" : "") + one + "\n";
      at = stop + 1;
    }
  }
  return text;
}

}  // namespace portpool
