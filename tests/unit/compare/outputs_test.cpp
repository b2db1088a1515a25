// What becomes of a comparison: figures by name, conditions on them, CSV, Markdown, an earlier run.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/error.h"
#include "compare/baseline.h"
#include "compare/condition.h"
#include "compare/figures.h"
#include "support/temp_dir.h"
#include "unit/compare/made_trial.h"

namespace portpool::test {
namespace {

using Answer = ConditionResult::Answer;

Comparison faster() { return compare(trial_of(12, {5}, {50}), true); }

const std::vector<Figure> kFigures{{"p99_ratio", 0.9, 0.5, 1.2},
                                   {"pool_max_us", 70, {}, {}},
                                   {"p999_ratio", {}, {}, {}},
                                   {"pool_errors", 0, {}, {}}};

ConditionResult result_of(const std::string& text) {
  return evaluate(parse_condition(text, kFigures), kFigures);
}

std::string refusal_of(const std::string& text) {
  try {
    parse_condition(text, kFigures);
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

TEST(ConditionTest, FourOperatorsAndBlanks) {
  EXPECT_EQ(result_of("p99_ratio<1").answer, Answer::holds);
  EXPECT_EQ(result_of(" p99_ratio  <  0.9 ").answer, Answer::holds_not);
  EXPECT_EQ(result_of("p99_ratio<=0.9").answer, Answer::holds);
  EXPECT_EQ(result_of("p99_ratio>=0.9").answer, Answer::holds);
  EXPECT_EQ(result_of("p99_ratio>0.9").answer, Answer::holds_not);
  EXPECT_EQ(result_of("pool_max_us > 6e1").answer, Answer::holds);
  EXPECT_EQ(result_of("pool_errors > -1").answer, Answer::holds);
}

TEST(ConditionTest, EndsOfTheInterval) {
  EXPECT_EQ(result_of("p99_ratio.high<1").answer, Answer::holds_not);
  EXPECT_EQ(result_of("p99_ratio.low<0.6").answer, Answer::holds);
  EXPECT_TRUE(contains(refusal_of("pool_errors.low<1"), "no figure is called"));
  EXPECT_TRUE(contains(refusal_of("pool_max_us.high<1"), "no figure is called"));
}

TEST(ConditionTest, WhatWasNotMeasuredIsNoAnswer) {
  EXPECT_EQ(result_of("p999_ratio<1").answer, Answer::not_measured);
  EXPECT_EQ(result_of("p999_ratio.low>0").answer, Answer::not_measured);
  EXPECT_TRUE(contains(result_of("p999_ratio<1").sentence, "p999_ratio was not measured"));
}

TEST(ConditionTest, SaysWhatItFound) {
  EXPECT_EQ(result_of("p99_ratio<1").sentence,
            "p99_ratio<1 holds: p99_ratio is 0.9, 95 % interval of p99_ratio 0.5 to 1.2");
  EXPECT_EQ(result_of("pool_errors>0").sentence, "pool_errors>0 does not hold: pool_errors is 0");
}

TEST(ConditionTest, RefusalsSayWhy) {
  for (const char* text : {"", "p99_ratio", "p99_ratio=1", "p99_ratio==1", "1"}) {
    EXPECT_TRUE(contains(refusal_of(text), "expected a figure, then <, <=, > or >=")) << text;
  }
  for (const char* text : {"p99_ratio<", "p99_ratio<one", "p99_ratio<1x", "p99_ratio<nan",
                           "p99_ratio<inf", "p99_ratio<<1", "p99_ratio<1e999", "p99_ratio=<1"}) {
    EXPECT_NE(refusal_of(text), "") << text;
  }
  const std::string unknown = refusal_of("p99_rato<1");
  EXPECT_TRUE(contains(unknown, "did you mean \"p99_ratio\"?")) << unknown;
  for (const Figure& figure : kFigures) EXPECT_TRUE(contains(unknown, figure.name)) << unknown;
  EXPECT_FALSE(contains(refusal_of("\033[31m<1"), "\033"));
}

std::vector<std::string> names_of(const Comparison& comparison) {
  std::vector<std::string> names;
  for (const Figure& figure : figures_of(comparison)) names.push_back(figure.name);
  return names;
}

TEST(FiguresTest, NamesAreTheSameWhateverWasMeasured) {
  const std::vector<std::string> names = names_of(Comparison{});
  EXPECT_EQ(names, names_of(faster()));
  for (const char* name : {"pool_p50_us", "kernel_p999_us", "p99_ratio", "cpu_ratio", "p_value",
                           "pairs", "pool_connects", "kernel_EADDRNOTAVAIL"}) {
    EXPECT_EQ(std::count(names.begin(), names.end(), name), 1) << name;
  }
}

TEST(FiguresTest, NoPValueFromTooFewPairs) {
  const auto p_value = [](std::size_t pairs) {
    const auto figures = figures_of(compare(trial_of(pairs, {5}, {50}), true));
    return std::find_if(figures.begin(), figures.end(),
                        [](const Figure& f) { return f.name == "p_value"; })
        ->value;
  };
  EXPECT_FALSE(p_value(kFewestPairs - 1));
  EXPECT_EQ(p_value(kFewestPairs), 2.0 / 64);
}

TEST(CsvTest, FieldsAreQuotedWhereTheyMustBe) {
  Trial trial = trial_of(12, {5}, {50});
  trial.subject = "sh -c 'echo \"a\",b'\nx";
  trial.environment = {{"measured", "2026-01-02 03:04:05 UTC"}, {"kernel", "not here"}};
  const std::string csv = comparison_as_csv(compare(trial, true), trial);
  EXPECT_TRUE(
      csv.starts_with("figure,value,low,high\nverdict,pool_faster,,\n"
                      "subject,\"sh -c 'echo \"\"a\"\",b'\nx\",,\n"
                      "measured,2026-01-02 03:04:05 UTC,,\n"))
      << csv;
  EXPECT_TRUE(contains(csv, "\npairs,12,,\n")) << csv;
  EXPECT_TRUE(contains(csv, "\npool_connects,6000,,\n")) << csv;
  EXPECT_TRUE(contains(csv, "\npool_cpu_us,,,\n")) << "not sampled: empty\n" << csv;
}

TEST(CsvTest, EveryLineHasFourFields) {
  const Trial trial = trial_of(12, {5}, {50});
  std::istringstream lines(comparison_as_csv(compare(trial, true), trial));
  for (std::string line; std::getline(lines, line);) {
    EXPECT_EQ(std::count(line.begin(), line.end(), ','), 3) << line;
  }
}

TEST(MarkdownTest, HasTablesAndNothingOfOthers) {
  Trial trial = trial_of(12, {5}, {50});
  trial.subject = "a|b <script> `x` [y](z)";
  trial.environment = {{"kernel", "Linux_6 | x"}};
  const std::string text = comparison_as_markdown(compare(trial, true), trial);
  EXPECT_TRUE(text.starts_with("# connect() by pool and by kernel\n\n**connect() is ")) << text;
  EXPECT_TRUE(
      contains(text, "| connect(), us | pool | kernel | kernel / pool |\n|---|---|---|---|"))
      << text;
  EXPECT_TRUE(contains(text, "| p99 | ")) << text;
  EXPECT_TRUE(contains(text, "a\\|b \\<script\\> \\`x\\` \\[y\\](z)")) << text;
  EXPECT_TRUE(contains(text, "| kernel | Linux\\_6 \\| x |")) << text;
}

// Two means of normally distributed values: on logarithms the variances add up.
TEST(BaselineTest, IntervalOfARatioOfIndependentRuns) {
  const auto around = [](double value, double error) {
    return Interval{value, value * std::exp(-1.96 * error), value * std::exp(1.96 * error)};
  };
  const auto found = ratio_of_independent(around(30, 0.03), around(20, 0.04));
  ASSERT_TRUE(found);
  EXPECT_DOUBLE_EQ(found->value, 1.5);
  EXPECT_NEAR(found->low, 1.5 * std::exp(-1.96 * 0.05), 1e-12);
  EXPECT_NEAR(found->high, 1.5 * std::exp(1.96 * 0.05), 1e-12);
  EXPECT_FALSE(ratio_of_independent(around(30, 0.03), {0, 0, 0}));
  EXPECT_FALSE(ratio_of_independent({NAN, NAN, NAN}, around(20, 0.04)));
}

// The skewed side counts: down by what the new may be below, and the old above, its value.
TEST(BaselineTest, IntervalsNeedNotBeEven) {
  const auto found = ratio_of_independent({10, 9, 40}, {10, 10, 10});
  ASSERT_TRUE(found);
  EXPECT_NEAR(found->low, 0.9, 1e-12);
  EXPECT_NEAR(found->high, 4, 1e-12);
  const auto turned = ratio_of_independent({10, 10, 10}, {10, 9, 40});
  EXPECT_NEAR(turned->low, 0.25, 1e-12);
  EXPECT_NEAR(turned->high, 1 / 0.9, 1e-12);
}

TEST(BaselineTest, ReadsWhatWasSaved) {
  const TempDir directory;
  Trial old_trial = trial_of(12, {5}, {50});
  old_trial.environment = {{"measured", "then"}};
  const std::string file =
      directory.write("old.json", comparison_as_json(compare(old_trial, true), old_trial));
  const Trial trial = trial_of(12, {10}, {50});
  Comparison now = compare(trial, true);
  now.against = Baseline(file).against(now);
  EXPECT_EQ(now.against->subject, "a test");
  EXPECT_EQ(now.against->measured, "then");
  ASSERT_EQ(now.against->changes.size(), 15U);
  const auto change = [&](const std::string& name) {
    for (const Change& c : now.against->changes) {
      if (c.figure == name) return c;
    }
    return Change{};
  };
  ASSERT_TRUE(change("pool_p50_us").ratio);
  EXPECT_NEAR(change("pool_p50_us").ratio->value, 2, 0.05);
  EXPECT_GT(change("pool_p50_us").ratio->low, 1.8);
  EXPECT_NEAR(change("kernel_p50_us").ratio->value, 1, 0.05);
  EXPECT_NEAR(change("p50_ratio").ratio->value, 0.5, 0.02);
  EXPECT_TRUE(change("kernel_p99_us").ratio);
  EXPECT_FALSE(change("pool_cpu_us").ratio) << "not sampled";

  const auto figures = figures_of(now);
  EXPECT_EQ(evaluate(parse_condition("pool_p50_us_change.low>1.5", figures), figures).answer,
            Answer::holds);
  const auto json = nlohmann::json::parse(comparison_as_json(now, trial));
  EXPECT_EQ(json.at("baseline").at("changes").at(0).at("figure"), "pool_p50_us");
  EXPECT_TRUE(contains(comparison_as_text(now, trial), "pool_p50_us"));
  EXPECT_TRUE(contains(comparison_as_text(now, trial), "there is no p-value"));
  EXPECT_TRUE(contains(comparison_as_markdown(now, trial), "## Against "));
  EXPECT_TRUE(contains(comparison_as_csv(now, trial), "\npool_p50_us_change,"));
  EXPECT_TRUE(contains(comparison_as_html(now, trial), "Against an earlier run"));
}

TEST(BaselineTest, OtherFilesAreRefused) {
  const TempDir directory;
  const auto refusal = [](const std::string& file) -> std::string {
    try {
      const Baseline baseline(file);
    } catch (const UserError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_TRUE(contains(refusal("/no/such/file"), "No such file"));
  EXPECT_TRUE(contains(refusal(directory.path()), "Is a directory"));
  const char* other = "is not what poold compare --json has written";
  for (const char* text :
       {"", "nonsense", "[]", "{\"schema\":1}", "{\"schema\":2,\"percentiles\":[],\"arms\":{}}"}) {
    EXPECT_TRUE(contains(refusal(directory.write("f", text)), other)) << text;
  }
  EXPECT_TRUE(
      contains(refusal(directory.write("f",
                                       "{\"schema\":1,\"percentiles\":[{\"percentile\":\"\"}],"
                                       "\"arms\":{}}")),
               "not as poold compare --json writes it"));
}

}  // namespace
}  // namespace portpool::test
