// Prometheus itself: it scrapes a poold that has work, evaluates the alert rules, and answers what
// the dashboard asks.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <fstream>
#include <regex>
#include <set>

#include "system/integration/common.h"
#include "system/metrics/exposition.h"
#include "system/metrics/http_get.h"

namespace portpool::test {
namespace {

const std::string kMetrics = "127.0.0.1:9481";
const std::string kPrometheus = "127.0.0.1:9490";
const std::string kPackaging = PORTPOOL_PACKAGING;
const std::string kRules = kPackaging + "/prometheus/portpool.rules.yml";

void expect_content(const std::vector<std::string>& command) {
  Process promtool(command);
  EXPECT_EQ(promtool.wait(), 0) << promtool.out() << promtool.err();
}

TEST(AlertRules, AreWellFormed) { expect_content({"promtool", "check", "rules", kRules}); }

TEST(AlertRules, FireWhenTheyShould) {
  expect_content({"promtool", "test", "rules", kPackaging + "/prometheus/portpool.rules.test.yml"});
}

// Every alert has a case in the rules' own tests.
TEST(AlertRules, AreAllTested) {
  const std::string rules = read_whole_file(kRules);
  const std::string tests = read_whole_file(kPackaging + "/prometheus/portpool.rules.test.yml");
  static const std::regex kAlert("- alert: ([A-Za-z]+)");
  int found = 0;
  for (std::sregex_iterator i(rules.begin(), rules.end(), kAlert), end; i != end; ++i, ++found) {
    EXPECT_NE(tests.find((*i)[1].str()), std::string::npos) << (*i)[1];
  }
  EXPECT_GE(found, 6);
}

// Of the project's page, which has a section for each alert (docs/runbooks.md).
TEST(AlertRules, AllNameTheirRunbook) {
  const std::string rules = read_whole_file(kRules);
  static const std::regex kAlert("- alert: ([A-Za-z]+)");
  static const std::regex kRunbook("\n          runbook_url: (\\S+)#(\\S+)\n");
  std::set<std::string> pages;
  for (std::sregex_iterator i(rules.begin(), rules.end(), kAlert), end; i != end; ++i) {
    std::string anchor = (*i)[1];
    std::transform(anchor.begin(), anchor.end(), anchor.begin(), ::tolower);
    const auto begin = (*i)[0].first;
    const auto next = std::next(i);
    std::smatch found;
    const std::string alert(begin, next == end ? rules.end() : (*next)[0].first);
    ASSERT_TRUE(std::regex_search(alert, found, kRunbook)) << alert;
    EXPECT_EQ(found[2], anchor);
    pages.insert(found[1]);
  }
  EXPECT_EQ(pages, std::set<std::string>{
                       "https://github.com/portpool/portpool/blob/main/docs/runbooks.md"});
}

nlohmann::json dashboard() {
  return nlohmann::json::parse(read_whole_file(kPackaging + "/grafana/portpool.json"));
}

// As Grafana takes it: there is no Grafana to ask.
TEST(Dashboard, IsInGoodOrder) {
  const nlohmann::json board = dashboard();
  std::set<int> ids;
  std::set<std::pair<int, int>> taken;
  std::vector<std::string> rows;
  for (const nlohmann::json& panel : board.at("panels")) {
    const std::string title = panel.at("title");
    EXPECT_TRUE(ids.insert(panel.at("id").get<int>()).second) << title;
    const nlohmann::json& place = panel.at("gridPos");
    const int left = place.at("x");
    const int top = place.at("y");
    EXPECT_GE(left, 0) << title;
    EXPECT_LE(left + place.at("w").get<int>(), 24) << title;
    for (int x = left; x < left + place.at("w").get<int>(); ++x) {
      for (int y = top; y < top + place.at("h").get<int>(); ++y) {
        EXPECT_TRUE(taken.emplace(x, y).second)
            << title << " lies over another at " << x << "," << y;
      }
    }
    if (panel.at("type") == "row") {
      rows.push_back(title);
      continue;
    }
    EXPECT_FALSE(rows.empty()) << title;
    EXPECT_EQ(panel.at("datasource").at("uid"), "${datasource}") << title;
    EXPECT_FALSE(panel.value("description", "").empty()) << title;
    std::set<std::string> names;
    for (const nlohmann::json& target : panel.at("targets")) {
      EXPECT_TRUE(names.insert(target.at("refId")).second) << title;
      EXPECT_EQ(target.at("datasource").at("uid"), "${datasource}") << title;
    }
    EXPECT_FALSE(names.empty()) << title;
  }
  EXPECT_EQ(rows, (std::vector<std::string>{"Health", "Connects", "Latency", "Lanes", "Processes",
                                            "Host"}));
  std::vector<std::string> variables;
  for (const nlohmann::json& variable : board.at("templating").at("list")) {
    variables.push_back(variable.at("name"));
  }
  EXPECT_EQ(variables, (std::vector<std::string>{"datasource", "job", "instance", "pool", "source",
                                                 "destination"}));
  std::set<std::string> links;
  for (const nlohmann::json& link : board.at("links")) links.insert(link.at("url"));
  EXPECT_TRUE(links.contains("https://github.com/portpool/portpool/blob/main/docs/runbooks.md"));
}

GUEST(metrics_load) {
  const int nonblocking = tcp_socket(AF_INET, SOCK_NONBLOCK);
  CHECK_THAT(connect_error(nonblocking, SocketAddress(kEcho)) == EINPROGRESS);
  say("begun");
  for (;;) {
    close_with_reset(connected_socket(SocketAddress(kEcho)));
    connect_error(tcp_socket(AF_INET), SocketAddress("127.0.0.1:9003"));
    usleep(2000);
  }
}

class Prometheus {
 public:
  Prometheus()
      : process_({"prometheus", "--config.file=" + directory_.write("prometheus.yml", config()),
                  "--storage.tsdb.path=" + directory_.file("data"),
                  "--web.listen-address=" + kPrometheus, "--log.level=warn"}) {}
  ~Prometheus() {
    process_.signal(SIGTERM);
    process_.wait();
  }

  nlohmann::json ask(const std::string& target) {
    const HttpAnswer answer = http_get(kPrometheus, target);
    if (answer.status == 0) return nullptr;
    nlohmann::json reply = nlohmann::json::parse(answer.body, nullptr, false);
    return reply.is_discarded() ? nullptr : reply;
  }
  nlohmann::json query(const std::string& expression) {
    return ask("/api/v1/query?query=" + url_encoded(expression));
  }
  std::string log() const { return process_.err(); }

 private:
  static std::string config() {
    return "global: {scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}\n"
           "rule_files: [" +
           kRules +
           "]\n"
           "scrape_configs:\n"
           "  - job_name: portpool\n"
           "    static_configs: [{targets: [\"" +
           kMetrics + "\"]}]\n";
  }

  TempDir directory_;
  Process process_;
};

// The value of the first sample; -1 without any.
double first_value(const nlohmann::json& reply) {
  const nlohmann::json& result = reply.at("data").at("result");
  return result.empty() ? -1 : std::stod(result.at(0).at("value").at(1).get<std::string>());
}

std::string replaced(std::string text, const std::string& what, const std::string& with) {
  for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += with.size()) {
    text.replace(at, what.size(), with);
  }
  return text;
}

// A dashboard's expression with everything chosen.
std::string filled_in(std::string expression) {
  expression = replaced(expression, "$__rate_interval", "5s");
  for (const char* variable : {"$job", "$instance", "$pool", "$source", "$destination"}) {
    expression = replaced(expression, variable, ".*");
  }
  EXPECT_EQ(expression.find('$'), std::string::npos) << expression;
  return expression;
}

TEST_F(EchoNet, PrometheusScrapesAndTheDashboardHasData) {
  Poold poold("metrics_listen = \"" + kMetrics +
              "\"\nexpect = {programs = [\"metrics_prometh\", \"nobody at all\"]}\n");
  poold.make_lanes({kEcho});
  Process pooled = start_guest("metrics_load", poold.shim());
  Process observed = start_guest("metrics_load", poold.shim({"PORTPOOL_MODE=observe"}));
  pooled.wait_for_output("begun\n");
  observed.wait_for_output("begun\n");
  Prometheus prometheus;

  // Scraped often enough for a rate, with both kinds of load in it.
  const auto rate_is_there = [&](const char* path) {
    return eventually([&] {
      const nlohmann::json reply = prometheus.query("sum(rate(portpool_connects_total{path=\"" +
                                                    std::string(path) + "\"}[5s]))");
      return !reply.is_null() && first_value(reply) > 0;
    });
  };
  ASSERT_TRUE(rate_is_there("pool")) << prometheus.log();
  ASSERT_TRUE(rate_is_there("kernel")) << prometheus.log();
  EXPECT_EQ(first_value(prometheus.query("up{job=\"portpool\"}")), 1);
  EXPECT_GT(first_value(prometheus.query("scrape_samples_scraped{job=\"portpool\"}")), 200);
  EXPECT_EQ(first_value(prometheus.query("portpool_clients")), 2);
  EXPECT_GE(first_value(prometheus.query("portpool_attaches_total{result=\"attached\"}")), 2);
  for (const auto& [name, value] : {std::pair{"metrics_prometh", 1}, {"nobody at all", 0}}) {
    EXPECT_TRUE(eventually([&] {
      return first_value(prometheus.query("portpool_expected_clients{name=\"" + std::string(name) +
                                          "\"}")) == value;
    })) << name;
  }

  // What the dashboard asks, names that poold exports among it, has an answer.
  std::vector<std::string> asked;
  const nlohmann::json board = dashboard();
  for (const nlohmann::json& panel : board.at("panels")) {
    if (panel.at("type") == "row") continue;
    for (const nlohmann::json& target : panel.at("targets")) {
      const std::string expression = filled_in(target.at("expr"));
      const nlohmann::json reply = prometheus.query(expression);
      ASSERT_EQ(reply.value("status", ""), "success") << expression << reply;
      EXPECT_FALSE(reply.at("data").at("result").empty()) << expression;
      EXPECT_FALSE(reply.contains("warnings")) << reply;
      asked.push_back(expression);
    }
  }
  EXPECT_GE(asked.size(), 30U);
  for (const nlohmann::json& variable : board.at("templating").at("list")) {
    if (variable.at("type") != "query") continue;
    static const std::regex kLabelValues("label_values\\((.*), ([a-z]+)\\)");
    const std::string query = variable.at("query").at("query");
    std::smatch match;
    ASSERT_TRUE(std::regex_match(query, match, kLabelValues)) << query;
    const std::string series = filled_in(match[1]);
    const nlohmann::json reply =
        prometheus.query("count by (" + match[2].str() + ") (" + series + ")");
    ASSERT_EQ(reply.value("status", ""), "success") << query << reply;
    EXPECT_TRUE(reply.at("data").at("result").at(0).at("metric").contains(match[2].str())) << query;
    asked.push_back(series);
  }
  // What happens now and then: with a reload to another configuration it has.
  std::ofstream(poold.config_path(), std::ios::app) << "log_level = \"debug\"\n";
  poold.process().signal(SIGHUP);
  for (const nlohmann::json& annotation : board.at("annotations").at("list")) {
    const std::string expression = filled_in(annotation.at("expr"));
    const nlohmann::json reply = prometheus.query(expression);
    ASSERT_EQ(reply.value("status", ""), "success") << expression << reply;
    asked.push_back(expression);
    const std::string name = annotation.at("name");
    if (name != "Reloads" && name != "Configuration changes") continue;
    EXPECT_TRUE(eventually([&] {
      return !prometheus.query(expression).at("data").at("result").empty();
    })) << expression;
  }
  const Exposition page(http_get(kMetrics, "/metrics").body);
  for (const std::string& expression : asked) {
    static const std::regex kName("portpool_[a-z_]+");
    for (std::sregex_iterator i(expression.begin(), expression.end(), kName), end; i != end; ++i) {
      const std::string name = std::regex_replace(i->str(), std::regex("_(bucket|sum|count)$"), "");
      EXPECT_TRUE(page.families().contains(i->str()) || page.families().contains(name))
          << i->str() << " is not exported";
    }
  }

  // The rules run in it, each without an error.
  nlohmann::json rules;
  EXPECT_TRUE(eventually([&] {
    rules = prometheus.ask("/api/v1/rules").at("data").at("groups").at(0).at("rules");
    return std::all_of(rules.begin(), rules.end(),
                       [](const nlohmann::json& rule) { return rule.at("health") == "ok"; });
  })) << rules;
  EXPECT_GE(rules.size(), 8U);
  EXPECT_GT(first_value(prometheus.query("portpool:destination_range:ratio")), -1);

  pooled.signal(SIGKILL);
  observed.signal(SIGKILL);
  pooled.wait();
  observed.wait();
  poold.stop();
  EXPECT_TRUE(eventually([&] {
    return first_value(prometheus.query("ALERTS{alertname=\"PortpoolDaemonDown\"}")) == 1;
  }));
}

}  // namespace
}  // namespace portpool::test
