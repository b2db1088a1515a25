#include "system/doctor/common.h"

#include <sys/resource.h>

#include <set>

namespace portpool::test {
namespace {

void raise_descriptors(rlim_t limit) {
  const rlimit wanted{limit, limit};
  CHECK_THAT(setrlimit(RLIMIT_NOFILE, &wanted) == 0);
}

void hold(const std::string& destination, int count) {
  for (int i = 0; i < count; ++i) CHECK_THAT(connected_socket(SocketAddress(destination)) >= 0);
}

[[noreturn]] void stay() {
  say("held");
  for (;;) await_line();
}

void expect_schema(const nlohmann::json& report) {
  ASSERT_TRUE(report.is_object());
  EXPECT_EQ(report.at("schema"), 1);
  const std::set<std::string> statuses{"ok", "warn", "fail", "unknown"};
  EXPECT_TRUE(statuses.contains(report.at("status").get<std::string>()));
  ASSERT_TRUE(report.at("checks").is_array());
  EXPECT_FALSE(report.at("checks").empty());
  for (const nlohmann::json& check : report.at("checks")) {
    EXPECT_NE(check.at("name").get<std::string>(), "") << check;
    EXPECT_TRUE(statuses.contains(check.at("status").get<std::string>())) << check;
    EXPECT_NE(check.at("summary").get<std::string>(), "") << check;
    EXPECT_TRUE(check.at("evidence").is_object()) << check;
    EXPECT_TRUE(check.at("fix").is_string()) << check;
  }
}

}  // namespace

Diagnosis answer_of(std::vector<std::string> command, const std::vector<std::string>& options,
                    const std::vector<std::string>& environment) {
  command.insert(command.end(), options.begin(), options.end());
  Process process(command, environment);
  Diagnosis diagnosis;
  diagnosis.status = process.wait();
  diagnosis.out = process.out();
  diagnosis.err = process.err();
  return diagnosis;
}

GUEST(hold_connections) {
  if (arguments.size() > 2) raise_descriptors(static_cast<rlim_t>(std::stoi(arguments[2])));
  hold(arguments.at(0), std::stoi(arguments.at(1)));
  stay();
}

GUEST(hold_bound) {
  for (int i = 0; i < std::stoi(arguments.at(1)); ++i) {
    const int fd = tcp_socket(AF_INET);
    CHECK_THAT(fd >= 0 && bind_error(fd, SocketAddress(arguments.at(0) + ":0")) == 0);
  }
  stay();
}

GUEST(hold_bound_connections) {
  for (int i = 0; i < std::stoi(arguments.at(2)); ++i) {
    const int fd = tcp_socket(AF_INET);
    CHECK_THAT(fd >= 0 && bind_error(fd, SocketAddress(arguments.at(0) + ":0")) == 0);
    CHECK_THAT(connect_error(fd, SocketAddress(arguments.at(1))) == 0);
  }
  stay();
}

nlohmann::json Diagnosis::check(const std::string& name) const {
  for (const nlohmann::json& check : report.at("checks")) {
    if (check.at("name") == name) return check;
  }
  ADD_FAILURE() << "no check is called " << name << " in " << report.dump(1);
  return nullptr;
}

Diagnosis diagnose(const std::vector<std::string>& options,
                   const std::vector<std::string>& environment) {
  Diagnosis diagnosis = answer_of({poold_path(), "doctor", "--json"}, options, environment);
  diagnosis.report = nlohmann::json::parse(diagnosis.out, nullptr, false);
  EXPECT_FALSE(diagnosis.report.is_discarded()) << diagnosis.out << diagnosis.err;
  expect_schema(diagnosis.report);
  EXPECT_EQ(diagnosis.err, "");
  return diagnosis;
}

Diagnosis diagnose_as_text(const std::vector<std::string>& options,
                           const std::vector<std::string>& environment) {
  return answer_of({poold_path(), "doctor"}, options, environment);
}

void expect_check(const Diagnosis& diagnosis, const std::string& name, const std::string& status,
                  const std::vector<std::string>& mentioned) {
  const nlohmann::json check = diagnosis.check(name);
  if (check.is_null()) return;
  EXPECT_EQ(check.at("status"), status) << check.dump(1);
  const std::string summary = check.at("summary");
  for (const std::string& word : mentioned) {
    EXPECT_NE(summary.find(word), std::string::npos) << word << " is not in: " << summary;
  }
  if (status == "ok") {
    EXPECT_EQ(check.at("fix"), "") << check.dump(1);
  } else if (status != "unknown") {
    EXPECT_NE(check.at("fix"), "") << check.dump(1);
  }
}

}  // namespace portpool::test
