// Whether the shim can work in a program or process, and why: a list of findings, the worst of
// which decides.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace portpool::check {

// In the order of exit statuses (docs/check.md): 0, 1, 2, 3.
enum class Answer { yes, partly, no, unknown };

// Of several, which decides: `no` is certain whatever else is unknown.
constexpr int weight(Answer answer) {
  return answer == Answer::no        ? 3
         : answer == Answer::unknown ? 2
         : answer == Answer::partly  ? 1
                                     : 0;
}

struct Finding {
  std::string name;  // stable, for programs: "linking", "privileges", ...
  Answer answer;
  std::string text;  // a sentence
  std::string fix;   // what to do; empty where there is nothing
  // In one word, as the list of programs shows it: a fallback's name where there is one.
  std::string reason = {};
};

struct Judgement {
  std::string subject;  // what was asked about
  std::string program;  // the file that was judged; a script's interpreter
  std::vector<Finding> findings;

  void add(std::string name, Answer answer, std::string text, std::string fix = "",
           std::string_view reason = "") {
    findings.push_back(
        {std::move(name), answer, std::move(text), std::move(fix), std::string(reason)});
  }

  Answer answer() const {
    Answer worst = Answer::yes;
    for (const Finding& finding : findings) {
      if (weight(finding.answer) > weight(worst)) worst = finding.answer;
    }
    return worst;
  }

  // The finding that decided; null when all is well.
  const Finding* reason() const {
    const Answer worst = answer();
    const auto found = std::find_if(findings.begin(), findings.end(),
                                    [&](const Finding& f) { return f.answer == worst; });
    return worst == Answer::yes || found == findings.end() ? nullptr : &*found;
  }
};

inline const char* name_of(Answer answer) {
  switch (answer) {
    case Answer::yes:
      return "yes";
    case Answer::partly:
      return "partly";
    case Answer::no:
      return "no";
    case Answer::unknown:
      break;
  }
  return "unknown";
}

}  // namespace portpool::check
