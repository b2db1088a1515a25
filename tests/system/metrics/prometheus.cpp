// Prometheus itself: it scrapes a poold that has work, evaluates the alert rules, and answers what
// the dashboard asks.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <regex>
#include <set>

#include "system/integration/common.h"
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

TEST_F(EchoNet, PrometheusScrapesAndTheDashboardHasData) {
  Poold poold("metrics_listen = \"" + kMetrics + "\"\n");
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

  const auto dashboard =
      nlohmann::json::parse(read_whole_file(kPackaging + "/grafana/portpool.json"));
  int asked = 0;
  std::set<int> ids;
  for (const nlohmann::json& panel : dashboard.at("panels")) {
    EXPECT_TRUE(ids.insert(panel.at("id").get<int>()).second) << panel.at("title");
    EXPECT_FALSE(panel.at("targets").empty()) << panel.at("title");
    for (const nlohmann::json& target : panel.at("targets")) {
      std::string expression = target.at("expr");
      for (const auto& [variable, value] :
           {std::pair{"$__rate_interval", "5s"}, {"$job", ".*"}, {"$instance", ".*"}}) {
        expression = replaced(expression, variable, value);
      }
      EXPECT_EQ(expression.find('$'), std::string::npos) << expression;
      const nlohmann::json reply = prometheus.query(expression);
      ASSERT_EQ(reply.value("status", ""), "success") << expression << reply;
      EXPECT_FALSE(reply.at("data").at("result").empty()) << expression;
      EXPECT_FALSE(reply.contains("warnings")) << reply;
      ++asked;
    }
  }
  EXPECT_GE(asked, 20);

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
