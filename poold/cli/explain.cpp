#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
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

nlohmann::ordered_json json_of(const Explanation& entry) {
  return {{"name", entry.name},
          {"sentence", sentence_of(entry.name)},
          {"meaning", entry.meaning},
          {"action", entry.action}};
}

[[noreturn]] void refuse(const std::string& name) {
  std::vector<std::string> names;
  for (Explanation& entry : explanations()) names.push_back(std::move(entry.name));
  throw UserError(fmt::format("nothing is called \"{}\"; {}", for_terminal(name),
                              did_you_mean(name, names, "\"poold explain\" lists what there is")));
}

int list(bool json) {
  if (!json) {
    for (const Explanation& entry : explanations()) {
      fmt::print("{}\n{}\n", entry.name, wrapped(entry.meaning, kTerminalWidth, 4));
    }
    return 0;
  }
  nlohmann::ordered_json root = {{"schema", 1}, {"explanations", nlohmann::ordered_json::array()}};
  for (const Explanation& entry : explanations()) root["explanations"].push_back(json_of(entry));
  fmt::print("{}\n", json_text(root));
  return 0;
}

}  // namespace

int explain_command(const ExplainOptions& options) {
  if (options.name.empty()) return list(options.json);
  const auto entry = explain(options.name);
  if (!entry) refuse(options.name);
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
