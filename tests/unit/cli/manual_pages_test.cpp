// The manual pages that are about no command have what their tables have, and the other pages that
// list the same have it, too.
#include "cli/manual_pages.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "cli/environment.h"
#include "cli/roff.h"
#include "daemon/config_keys.h"
#include "portpool/fallback.h"

namespace portpool::test {
namespace {

const std::filesystem::path kSources = PORTPOOL_SOURCES;

// The first words of a page's entries, in their order.
std::vector<std::string> entries_of(const std::string& page) {
  std::vector<std::string> found;
  const std::regex entry(R"(\n\.TP\n\\fB([^\\]+)\\fR)");
  for (std::sregex_iterator it(page.begin(), page.end(), entry), end; it != end; ++it) {
    found.push_back((*it)[1]);
  }
  return found;
}

std::vector<std::string> names_of_variables() {
  std::vector<std::string> names;
  for (const Variable& variable : kVariables) names.emplace_back(variable.name);
  return names;
}

TEST(ManualPages, ConfigurationHasEachKey) {
  std::vector<std::string> expected;
  for (const ConfigKey& key : kConfigKeys) expected.emplace_back(key.name);
  for (const ConfigKey& key : kPoolKeys) expected.emplace_back(key.name);
  for (const ConfigKey& key : kExpectKeys) expected.emplace_back(key.name);
  EXPECT_EQ(entries_of(configuration_page()), expected);
}

TEST(ManualPages, LibraryHasEachVariableAndReason) {
  std::vector<std::string> expected = names_of_variables();
  for (const FallbackText& reason : kFallbackTexts) expected.emplace_back(reason.name);
  EXPECT_EQ(entries_of(library_page()), expected);
}

TEST(ManualPages, NoLineIsLongerThanATerminal) {
  for (const std::string& page : {configuration_page(), library_page()}) {
    std::istringstream lines(page);
    for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 80U) << line;
  }
}

TEST(ManualPages, FillingKeepsWordsAndMakesNoRequests) {
  const std::string word(30, 'w');
  EXPECT_EQ(filled(word + " " + word + " .x " + word + "\n"),
            word + " " + word + " .x\n" + word + "\n");
  EXPECT_EQ(filled(word + " " + word + " wwwwwwwwwwwwwwwwww .x\n"),
            word + " " + word + "\nwwwwwwwwwwwwwwwwww .x\n");
  EXPECT_EQ(filled(word + " " + word + " wwwwwwwwwwwwwwww .x\n"),
            word + " " + word + " wwwwwwwwwwwwwwww\n\\&.x\n");
  const std::string example = ".EX\n" + std::string(100, 'e') + " e\n.EE\n";
  EXPECT_EQ(filled(example), example);
}

// In the first column of the table below `heading`.
std::vector<std::string> variables_in(const std::filesystem::path& page,
                                      const std::string& heading) {
  std::ifstream in(page);
  std::vector<std::string> found;
  std::string line;
  while (std::getline(in, line) && line != heading) {
  }
  while (std::getline(in, line) && !line.starts_with("## ")) {
    std::smatch row;
    if (std::regex_search(line, row, std::regex("^\\| `([A-Z_]+)` \\|"))) found.push_back(row[1]);
  }
  return found;
}

TEST(Environment, PagesHaveEachVariable) {
  const auto as_set = [](const std::vector<std::string>& names) {
    return std::set<std::string>(names.begin(), names.end());
  };
  auto expected = as_set(names_of_variables());
  EXPECT_EQ(as_set(variables_in(kSources / "docs/configuration.md", "## Environment")), expected);
  expected.erase("XDG_RUNTIME_DIR");  // not for the first page
  EXPECT_EQ(as_set(variables_in(kSources / "README.md", "## Environment")), expected);
}

// Whatever the library asks for.
TEST(Environment, TheLibraryReadsNoOther) {
  std::set<std::string> read;
  for (const auto& file : std::filesystem::directory_iterator(kSources / "shim")) {
    std::ifstream in(file.path());
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    const std::regex call("getenv\\(\"([^\"]+)\"\\)");
    for (std::sregex_iterator it(text.begin(), text.end(), call), end; it != end; ++it) {
      read.insert((*it)[1]);
    }
  }
  std::set<std::string> expected;
  for (const Variable& variable : kVariables) {
    if (variable.reader.starts_with("library")) expected.emplace(variable.name);
  }
  EXPECT_EQ(read, expected);
}

}  // namespace
}  // namespace portpool::test
