#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/json_text.h"
#include "base/text.h"
#include "check/process.h"
#include "check/program.h"
#include "check/programs.h"
#include "cli/commands.h"

namespace portpool {
namespace {

std::string as_json(const check::Judgement& judgement) {
  nlohmann::ordered_json findings = nlohmann::ordered_json::array();
  for (const check::Finding& finding : judgement.findings) {
    findings.push_back({{"name", finding.name},
                        {"answer", check::name_of(finding.answer)},
                        {"reason", finding.reason},
                        {"text", finding.text},
                        {"fix", finding.fix}});
  }
  const nlohmann::ordered_json root = {{"schema", 1},
                                       {"subject", judgement.subject},
                                       {"program", judgement.program},
                                       {"answer", check::name_of(judgement.answer())},
                                       {"findings", findings}};
  return json_text(root);
}

void print_text(const check::Judgement& judgement) {
  fmt::print("{}: {}\n", for_terminal(judgement.subject), check::name_of(judgement.answer()));
  for (const check::Finding& finding : judgement.findings) {
    fmt::print("  {:<7} {}\n", check::name_of(finding.answer), for_terminal(finding.text));
    if (!finding.fix.empty()) fmt::print("          {}\n", for_terminal(finding.fix));
  }
}

bool is_pid(const std::string& text) {
  return !text.empty() && text.size() < 10 &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

int check_all(const CheckOptions& options) {
  const check::Programs programs = check::list_programs(options.socket);
  if (options.json) {
    nlohmann::ordered_json root = {{"schema", 1}, {"answer", check::name_of(programs.answer())}};
    root.update(check::programs_as_json(programs));
    fmt::print("{}\n", json_text(root));
  } else {
    fmt::print("{}", check::programs_as_text(programs, check::screen_width()));
  }
  return static_cast<int>(programs.answer());
}

}  // namespace

int check_command(const CheckOptions& options) {
  if (options.all) return check_all(options);
  check::Daemons daemons(options.socket);
  const check::Judgement judgement =
      options.subject.size() == 1 && is_pid(options.subject[0])
          ? check::judge_process(std::stoi(options.subject[0]), daemons)
          : check::judge_command(options.subject);
  if (options.json) {
    fmt::print("{}\n", as_json(judgement));
  } else {
    print_text(judgement);
  }
  return static_cast<int>(judgement.answer());
}

}  // namespace portpool
