#include <fmt/format.h>
#include <sys/random.h>

#include <cmath>
#include <functional>
#include <map>

#include "base/clock.h"
#include "base/number_text.h"
#include "base/text.h"
#include "compare/comparison.h"
#include "compare/html_charts.h"
#include "compare/interval_text.h"
#include "compare/report_template.h"
#include "compare/svg.h"
#include "observe/quantile.h"

namespace portpool {
namespace {

// Fills in what stands in {{ }}; what is filled in is not looked at again.
std::string fill(std::string_view text,
                 const std::map<std::string, std::string, std::less<>>& values) {
  std::string page;
  for (;;) {
    const std::size_t open = text.find("{{");
    const std::size_t close = text.find("}}", open);
    if (open == std::string_view::npos || close == std::string_view::npos) break;
    page += text.substr(0, open);
    page += values.at(std::string(text.substr(open + 2, close - open - 2)));
    text.remove_prefix(close + 2);
  }
  return page.append(text);
}

// Unforeseeable, so that nothing that the page quotes can run as its script.
std::string make_nonce() {
  unsigned char bytes[16] = {};
  (void)!getrandom(bytes, sizeof bytes, 0);
  std::string text;
  for (const unsigned char byte : bytes) text += fmt::format("{:02x}", byte);
  return text;
}

using Row = std::vector<std::string>;  // cells as HTML

std::string html_row(const Row& cells, bool head) {
  std::string text = "<tr>";
  for (std::size_t i = 0; i < cells.size(); ++i) {
    const bool header = head || i == 0;
    text += header ? fmt::format("<th scope=\"{}\">{}</th>", head ? "col" : "row", cells[i])
                   : "<td>" + cells[i] + "</td>";
  }
  return text + "</tr>\n";
}

std::string html_table(const Row& head, const std::vector<Row>& rows, const char* css = "") {
  std::string text = fmt::format("<div class=\"scroll\"><table class=\"{}\">\n", css);
  if (!head.empty()) text += "<thead>" + html_row(head, true) + "</thead>\n";
  text += "<tbody>\n";
  for (const Row& row : rows) text += html_row(row, false);
  return text + "</tbody>\n</table></div>\n";
}

std::string figure(const std::string& heading, const Comparison& c,
                   std::string (*chart)(const Comparison&, const ChartSize&),
                   const std::string& caption) {
  const std::string wide = chart(c, kWideChart);
  if (wide.empty()) return "";
  return fmt::format("<h2>{}</h2>\n<figure>\n{}{}<figcaption>{}</figcaption>\n</figure>\n", heading,
                     wide, chart(c, kNarrowChart), caption);
}

std::string cell(double value, double low, double high,
                 const std::function<std::string(double)>& text) {
  return fmt::format("{} <small>{} to {}</small>", html_escape(text(value)), html_escape(text(low)),
                     html_escape(text(high)));
}

const char* const kTooFew = "<span class=\"quiet\">too few</span>";

const char* const kNoConnects = "<span class=\"quiet\">no connects</span>";

std::string us_cell(const std::optional<Interval>& found, const ArmTotals& arm) {
  if (arm.latency.count == 0) return kNoConnects;
  if (!found) return kTooFew;
  return cell(found->value, found->low, found->high, [](double v) { return us_text(v); });
}

std::string ratio_cell(const std::optional<Interval>& found, bool differs) {
  if (!found) return "";
  const std::string text =
      cell(found->value, found->low, found->high, [](double v) { return ratio_text(v); });
  return differs ? "<span class=\"differs\">" + text + "</span>" : text;
}

const char* const kPoolKey = "<span class=\"key pool\"></span>pool";
const char* const kKernelKey = "<span class=\"key\"></span>kernel";

// The columns of a table: both arms, or the paths that connects took.
std::vector<const ArmTotals*> columns_of(const Comparison& c) {
  std::vector<const ArmTotals*> columns;
  for (const ArmTotals* arm : {&c.pool, &c.kernel}) {
    if (c.two_arms || arm->latency.count > 0) columns.push_back(arm);
  }
  return columns;
}

Row head_of(const Comparison& c) {
  Row head{""};
  for (const ArmTotals* arm : columns_of(c))
    head.emplace_back(arm == &c.pool ? kPoolKey : kKernelKey);
  return head;
}

std::string test_words(const Comparison& c) {
  if (c.differences.size() < kFewestPairs) return "";
  return fmt::format(" Wilcoxon signed-rank test of the pairs' medians: W = {:g}, {}{}.",
                     c.medians.w, html_escape(p_text(c.medians.p)),
                     c.medians.exact ? " (exact)" : "");
}

std::string latency_section(const Comparison& c) {
  std::vector<Row> rows;
  for (const QuantileRow& row : c.quantiles) {
    Row cells{row.label};
    for (const ArmTotals* arm : columns_of(c)) {
      cells.push_back(us_cell(arm == &c.pool ? row.pool : row.kernel, *arm));
    }
    if (c.two_arms) cells.push_back(ratio_cell(row.ratio, row.differs()));
    rows.push_back(std::move(cells));
  }
  const std::string heading = "<h2>Latency of connect(), in microseconds</h2>\n";
  Row head = head_of(c);
  if (!c.two_arms) {
    return heading + html_table(head, rows) +
           "<p class=\"quiet\">By the path that the connects ended on. Small: 95 % interval, by "
           "bootstrap over time slices.</p>\n";
  }
  head.emplace_back("kernel / pool");
  const bool differs = c.cpu_ratio && excludes_one(*c.cpu_ratio);
  rows.push_back({"CPU time, mean", us_cell(c.pool.cpu_us, c.pool),
                  us_cell(c.kernel.cpu_us, c.kernel), ratio_cell(c.cpu_ratio, differs)});
  return heading + html_table(head, rows) +
         fmt::format(
             "<p class=\"quiet\">Small: 95 % interval, by bootstrap over the pairs of blocks "
             "({} resamples). Bold: the interval of the ratio does not contain 1. CPU time is "
             "that of the calling thread in about one call of 16 ({} and {} calls).{}</p>\n",
             kResamples, count_text(c.pool.latency.cpu_samples),
             count_text(c.kernel.latency.cpu_samples), test_words(c));
}

std::string against_section(const Against& against) {
  const auto value = [](const std::optional<Interval>& found) {
    return found ? us_text(found->value) : std::string(kTooFew);
  };
  std::vector<Row> rows;
  for (const Change& change : against.changes) {
    if (!change.before && !change.now) continue;
    rows.push_back({change.figure, value(change.before), value(change.now),
                    ratio_cell(change.ratio, change.ratio && excludes_one(*change.ratio))});
  }
  return "<h2>Against an earlier run</h2>\n<p class=\"quiet\"><code>" + html_escape(against.file) +
         "</code>" + (against.measured.empty() ? "" : ", of " + html_escape(against.measured)) +
         ": <code>" + html_escape(against.subject) + "</code></p>\n" +
         html_table({"figure", "old", "new", "new / old"}, rows) + "<p class=\"quiet\">" +
         html_escape(kAgainstCaution) + "</p>\n";
}

std::string rate(const ArmTotals& arm) {
  return count_text(
      static_cast<std::uint64_t>(static_cast<double>(arm.latency.count) / arm.seconds));
}

std::string occupancy(const ArmTotals& arm) {
  if (!arm.occupancy) return "no lane";
  return cell(arm.occupancy->median, arm.occupancy->low, arm.occupancy->high, percent_text);
}

std::string counts_section(const Comparison& c, const Trial& trial) {
  if (c.connects() == 0) return "<p>No connects in this time.</p>\n";
  std::vector<Row> rows;
  const auto add = [&](const char* name, const auto& text) {
    Row cells{name};
    for (const ArmTotals* arm : columns_of(c)) cells.push_back(text(*arm));
    rows.push_back(std::move(cells));
  };
  add(c.two_arms ? "blocks" : "time slices",
      [](const ArmTotals& a) { return std::to_string(a.blocks); });
  add("time counted", [](const ArmTotals& a) { return seconds_text(a.seconds); });
  add("connects", [](const ArmTotals& a) { return count_text(a.latency.count); });
  add("connects a second", rate);
  add("errors", [](const ArmTotals& a) { return count_text(a.latency.errors); });
  add("of these EADDRNOTAVAIL", [](const ArmTotals& a) { return count_text(a.latency.no_port); });
  if (c.two_arms) {
    rows.push_back({"fell back to the kernel's path", count_text(c.pool.fallbacks), ""});
  }
  add("longest, us", [](const ArmTotals& a) {
    return a.latency.count == 0 ? std::string(kNoConnects) : us_text(to_us(a.latency.max_ns));
  });
  add("ports taken, fullest lane", occupancy);
  std::string text = "<h2>Connects, errors and fallbacks</h2>\n" + html_table(head_of(c), rows);
  std::vector<Row> reasons;
  for (std::size_t i = 0; i < kFallbackReasons; ++i) {
    if (trial.total.fallbacks[i] == 0) continue;
    reasons.push_back(
        {html_escape(kFallbackTexts[i].sentence), count_text(trial.total.fallbacks[i])});
  }
  const std::uint64_t own = trial.total.counter(Counter::k_passthrough_own_port);
  if (own != 0) reasons.push_back({"not ours: the program chose the port itself", count_text(own)});
  if (!reasons.empty()) {
    text += html_table({"why the kernel&#39;s path was taken (whole time)", "connects"}, reasons);
  }
  return text;
}

std::string environment_section(const Trial& trial) {
  std::vector<Row> rows;
  for (const auto& [name, value] : trial.environment) {
    rows.push_back({html_escape(name), "<code>" + html_escape(value) + "</code>"});
  }
  if (trial.block_s > 0) {
    rows.push_back(
        {"blocks",
         fmt::format("{} each, in pairs, in random order; the first {} of each "
                     "not counted; seed of the intervals {}",
                     seconds_text(trial.block_s), seconds_text(trial.dropped_s), trial.seed)});
  }
  return "<h2>Where and how</h2>\n" + html_table({}, rows, "text");
}

std::string quantile_cell(const Block& block, double q) {
  return block.latency.count == 0 ? "" : us_text(quantile_us(block.latency, q));
}

std::string blocks_section(const Comparison& c) {
  std::vector<Row> rows;
  for (const Block& block : c.blocks) {
    Row cells{std::to_string(block.number)};
    if (c.two_arms) cells.emplace_back(name_of(block.arm));
    cells.insert(
        cells.end(),
        {fmt::format("{:.1f}", block.start_s), count_text(block.latency.count),
         quantile_cell(block, 0.5), quantile_cell(block, 0.99), count_text(block.latency.errors),
         count_text(block.fallbacks),
         std::isnan(block.occupancy) ? "no lane" : html_escape(percent_text(block.occupancy))});
    rows.push_back(std::move(cells));
  }
  if (rows.empty()) return "";
  Row head{"no."};
  if (c.two_arms) head.emplace_back("arm");
  head.insert(head.end(),
              {"start, s", "connects", "p50, us", "p99, us", "errors", "fallbacks", "ports taken"});
  return fmt::format("<details>\n<summary>Every {}</summary>\n{}</details>\n",
                     c.two_arms ? "block" : "time slice", html_table(head, rows, "wide-table"));
}

std::string sections(const Comparison& c, const Trial& trial) {
  std::string text;
  if (c.connects() > 0) {
    text += latency_section(c);
    text += figure("Percentile by percentile", c, percentile_chart,
                   "Each step to the right is a rarer, slower call. The shaded band is the 95 % "
                   "interval. A curve ends where fewer than 10 calls lie beyond it. Values of "
                   "this and the other pictures: under the pointer, by a tap, or with Tab and the "
                   "arrow keys.");
    text += figure(c.two_arms ? "Tail of each block, by ports taken" : "Tail by ports taken", c,
                   occupancy_chart,
                   "The p99 of every block with at least 100 connects, against the share of ports "
                   "that could not be claimed at its end, in the fullest lane.");
    text += c.two_arms
                ? figure("Pair by pair", c, difference_chart,
                         "Each point is the ratio of the medians of two neighbouring blocks. "
                         "Points that lie on both sides of 1 show no difference; a slope shows "
                         "that something changed on the way.")
                : figure("As time goes by", c, time_chart,
                         "Median and, thin, p99 of each time slice, by the path that the "
                         "connects ended on.");
  }
  if (c.against && c.connects() > 0) text += against_section(*c.against);
  text += counts_section(c, trial);
  text += environment_section(trial);
  return text + blocks_section(c);
}

std::string notes(const Comparison& c) {
  if (c.notes.empty()) return "";
  std::string text = "<ul class=\"notes\">\n";
  for (const std::string& note : c.notes) text += "<li>" + html_escape(note) + "</li>\n";
  return text + "</ul>";
}

}  // namespace

std::string comparison_as_html(const Comparison& c, const Trial& trial) {
  const std::string heading = c.two_arms ? "portpool: connect() by pool and by kernel"
                                         : "portpool: connect() under the shim";
  return fill(kReportTemplate,
              {{"nonce", make_nonce()},
               {"title", html_escape(heading + " - " + trial.subject)},
               {"heading", html_escape(heading)},
               {"verdict", html_escape(c.sentence)},
               {"tail", c.tail.empty() ? "" : "<p class=\"tail\">" + html_escape(c.tail) + "</p>"},
               {"subject", "<code>" + html_escape(trial.subject) + "</code>"},
               {"notes", notes(c)},
               {"sections", sections(c, trial)}});
}

}  // namespace portpool
