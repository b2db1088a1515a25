#include "base/text.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace portpool::test {
namespace {

const char* const kGood[] = {"",
                             "plain\n",
                             "gr\xC3\xBCn",
                             "\xE2\x82\xAC",
                             "\xF0\x9F\x90\x99",
                             "\xED\x9F\xBF\xEE\x80\x80",              // around the surrogates
                             "\xC2\x80\xE0\xA0\x80\xF0\x90\x80\x80",  // the first of each length
                             "\x7F\xDF\xBF\xEF\xBF\xBF\xF4\x8F\xBF\xBF"};  // the last of each
const char* const kBad[] = {"\xFF",
                            "\x80",
                            "a\xC3",
                            "\xC3(",
                            "\xE2\x82",
                            "\xE2\x82x",
                            "\xE2\x28\xA1",
                            "\xC0\x80",  // overlong, of 2, 3 and 4 bytes
                            "\xE0\x9F\xBF",
                            "\xF0\x8F\xBF\xBF",
                            "\xED\xA0\x80",  // surrogates
                            "\xED\xBF\xBF",
                            "\xF4\x90\x80\x80",  // beyond U+10FFFF
                            "\xF5\x80\x80\x80"};

TEST(Utf8, GoodAndBad) {
  for (const char* text : kGood) EXPECT_TRUE(is_utf8(text)) << text;
  for (const char* text : kBad) EXPECT_FALSE(is_utf8(text)) << text;
}

TEST(Utf8, LengthOfTheFirstCharacter) {
  EXPECT_EQ(utf8_length("ab"), 1U);
  EXPECT_EQ(utf8_length("\xC3\xBC+"), 2U);
  EXPECT_EQ(utf8_length("\xE2\x82\xAC+"), 3U);
  EXPECT_EQ(utf8_length("\xF0\x9F\x90\x99+"), 4U);
  EXPECT_EQ(utf8_length(std::string_view("\0", 1)), 1U);
  EXPECT_EQ(utf8_length("\xE2\x82+"), 0U);
}

TEST(Printable, LeavesAsciiAlone) {
  EXPECT_EQ(printable("sh -c '~'"), "sh -c '~'");
  EXPECT_EQ(printable("a\x1B[31m\tb\n\x7F"), "a?[31m?b??");
  EXPECT_EQ(printable("gr\xC3\xBCn\x9B"), "gr??n?");
}

TEST(HtmlEscape, KeepsGoodTextAndNothingElse) {
  EXPECT_EQ(html_escape("a<b>&\"'"), "a&lt;b&gt;&amp;&quot;&#39;");
  EXPECT_EQ(html_escape("gr\xC3\xBC\xC3\x9F \xF0\x9F\x90\x99\t\n"),
            "gr\xC3\xBC\xC3\x9F \xF0\x9F\x90\x99\t\n");
  EXPECT_EQ(html_escape("\xC3"), "\xEF\xBF\xBD");
  EXPECT_EQ(html_escape("\xE2\x82x"), "\xEF\xBF\xBD\xEF\xBF\xBDx");
  EXPECT_EQ(html_escape(std::string_view("\0\x1B\x7F", 3)), "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
}

TEST(HtmlEscape, IsAlwaysUtf8) {
  for (const char* text : kBad) EXPECT_TRUE(is_utf8(html_escape(text))) << text;
}

TEST(Colours, AreRefusedByAWordInTheEnvironment) {
  unsetenv("NO_COLOR");
  EXPECT_FALSE(colours_are_refused());
  setenv("NO_COLOR", "", 1);
  EXPECT_FALSE(colours_are_refused());
  setenv("NO_COLOR", "1", 1);
  EXPECT_TRUE(colours_are_refused());
}

TEST(ForTerminal, PrintableUtf8StaysAndTheRestDoesNot) {
  EXPECT_EQ(for_terminal("gr\xC3\xBCn \xE2\x82\xAC"), "gr\xC3\xBCn \xE2\x82\xAC");
  EXPECT_EQ(for_terminal("\x1B[2J\a\n\x7F"), "?[2J???");
  EXPECT_EQ(for_terminal("\xC2\x9B"
                         "31m"),
            "?31m");  // C1: CSI
  EXPECT_EQ(for_terminal("a\xE2\x80\xAE"
                         "b"),
            "a?b");  // right-to-left override
  EXPECT_EQ(for_terminal("a\xE2\x81\xA6"
                         "b"),
            "a?b");  // isolate
  EXPECT_EQ(lines_for_terminal("a\nb\x1B"), "a\nb?");
  for (const char* text : kBad) EXPECT_TRUE(is_utf8(for_terminal(text)));
}

TEST(Wrapped, KeepsWordsAndIndents) {
  EXPECT_EQ(wrapped("one two three", 9, 2), "  one two\n  three\n");
  EXPECT_EQ(wrapped("averylongword  x", 5, 1), " averylongword\n x\n");
  EXPECT_EQ(wrapped("a b", 3, 0), "a b\n");
  EXPECT_EQ(wrapped("", 80, 2), "\n");
}

TEST(WordsOf, BlanksAndTabsAreBetween) {
  using Words = std::vector<std::string_view>;
  EXPECT_EQ(words_of(""), Words{});
  EXPECT_EQ(words_of(" \t "), Words{});
  EXPECT_EQ(words_of("one"), Words{"one"});
  EXPECT_EQ(words_of("\tone  two\n \tthree "), (Words{"one", "two\n", "three"}));
}

TEST(ShellQuote, OneWord) {
  EXPECT_EQ(shell_quote("/run/portpool.sock"), "/run/portpool.sock");
  EXPECT_EQ(shell_quote(""), "''");
  EXPECT_EQ(shell_quote("a; rm b"), "'a; rm b'");
  EXPECT_EQ(shell_quote("it's"), "'it'\\''s'");
}

}  // namespace
}  // namespace portpool::test
