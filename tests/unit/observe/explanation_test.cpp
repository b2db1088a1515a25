// docs/troubleshooting.md as `poold explain` reads it.
#include "observe/explanation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

#include "portpool/fallback.h"

namespace portpool {
namespace {

// What a trace shows besides (observe/trace_text.cpp), and the list of programs
// (check/served.cpp, check/programs.cpp).
const std::set<std::string> kOtherWords{
    "own_port", "failed_fast", "unknown",      "not_loaded",    "off",
    "observe",  "replaced",    "not_attached", "not_permitted", "other_pid_namespace"};

TEST(Explanations, EveryReasonHasOneAndNothingElse) {
  std::multiset<std::string> expected(kOtherWords.begin(), kOtherWords.end());
  for (const FallbackText& text : kFallbackTexts) expected.emplace(text.name);
  std::multiset<std::string> found;
  for (const Explanation& entry : explanations()) found.insert(entry.name);
  EXPECT_EQ(found, expected);
}

TEST(Explanations, AreWholeAndWithoutMarkup) {
  for (const Explanation& entry : explanations()) {
    SCOPED_TRACE(entry.name);
    for (const std::string& text : {entry.meaning, entry.action}) {
      EXPECT_FALSE(text.empty());
      EXPECT_EQ(text.find_first_of("`*[]|"), text.npos) << text;
    }
  }
  const auto no_lane = explain("no_lane");
  ASSERT_TRUE(no_lane);
  EXPECT_NE(no_lane->action.find("docs/scale.md"), std::string::npos) << no_lane->action;
  EXPECT_FALSE(explain("no_lane "));
}

}  // namespace
}  // namespace portpool
