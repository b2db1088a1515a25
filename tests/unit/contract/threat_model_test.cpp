// Each promise of docs/threat-model.md names tests; they are there.
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <regex>
#include <string>

namespace portpool::test {
namespace {

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(ThreatModel, TheTestsThatItNamesExist) {
  const std::string source = PORTPOOL_SOURCE;
  const std::string page = text_of(source + "/docs/threat-model.md");
  const std::string fuzz_targets = text_of(source + "/tests/fuzz/CMakeLists.txt");
  const std::regex named("`([A-Za-z]+)\\.(\\w+)` \\((tests/[^)]+)\\)");
  int found = 0;
  for (std::sregex_iterator one(page.begin(), page.end(), named), end; one != end; ++one, ++found) {
    const std::string suite = (*one)[1];
    const std::string name = (*one)[2];
    const std::string code = text_of(source + "/" + (*one)[3].str());
    if (suite == "fuzz") {
      EXPECT_NE(fuzz_targets.find("fuzz_target(" + name + " "), std::string::npos) << name;
      EXPECT_NE(code.find("LLVMFuzzerTestOneInput"), std::string::npos) << name;
    } else {
      const std::regex test("TEST(_F|_P)?\\(" + suite + ", " + name + "\\)");
      EXPECT_TRUE(std::regex_search(code, test)) << suite << "." << name;
    }
  }
  EXPECT_GE(found, 20);
}

}  // namespace
}  // namespace portpool::test
