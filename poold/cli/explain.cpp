#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/json_text.h"
#include "base/suggestion.h"
#include "base/text.h"
#include "cli/commands.h"
#include "observe/explanation.h"
#include "portpool/fallback.h"

namespace portpool {
namespace {

// "" for a word that is no fallback reason.
std::string sentence_of(const std::string& name) {
  for (const FallbackText& text : kFallbackTexts) {
    if (text.name == name) return std::string(text.sentence);
  }
  return "";
}

void print_paragraph(const std::string& heading, const std::string& text) {
  fmt::print("{}\n{}\n", heading, wrapped(text, kTerminalWidth, 2));
}

void list(const std::vector<Explanation>& all) {
  for (const Explanation& entry : all)
    fmt::print("{}\n{}\n", entry.name, wrapped(entry.meaning, kTerminalWidth, 4));
}

nlohmann::ordered_json json_of(const Explanation& entry) {
  return {{"name", entry.name},
          {"sentence", sentence_of(entry.name)},
          {"meaning", entry.meaning},
          {"action", entry.action}};
}

[[noreturn]] void refuse(const std::string& name, const std::vector<Explanation>& all) {
  std::vector<std::string> names;
  names.reserve(all.size());
  for (const Explanation& entry : all) names.push_back(entry.name);
  const std::string meant = nearest(name, names);
  throw UserError(fmt::format(
      "nothing is called \"{}\"; {}", for_terminal(name),
      meant.empty() ? "\"poold explain\" lists what there is" : "did you mean \"" + meant + "\"?"));
}

}  // namespace

int explain_command(const ExplainOptions& options) {
  const std::vector<Explanation> all = explanations();
  if (options.name.empty()) {
    if (options.json) {
      nlohmann::ordered_json root = {{"schema", 1},
                                     {"explanations", nlohmann::ordered_json::array()}};
      for (const Explanation& entry : all) root["explanations"].push_back(json_of(entry));
      fmt::print("{}\n", json_text(root));
    } else {
      list(all);
    }
    return 0;
  }
  const auto entry = explain(options.name);
  if (!entry) refuse(options.name, all);
  if (options.json) {
    nlohmann::ordered_json root = json_of(*entry);
    root["schema"] = 1;
    fmt::print("{}\n", json_text(root));
    return 0;
  }
  const std::string sentence = sentence_of(entry->name);
  fmt::print("{}{}\n\n", entry->name, sentence.empty() ? "" : ": " + sentence);
  print_paragraph("What it means", entry->meaning);
  print_paragraph("What to do", entry->action);
  return 0;
}

}  // namespace portpool
