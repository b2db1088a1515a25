// `poold check-config`, and what the doctor says of a configuration.
#include <string>
#include <vector>

#include "support/temp_dir.h"
#include "system/doctor/common.h"

namespace portpool::test {
namespace {

class CheckConfig : public ServedNet {
 protected:
  // With --json.
  Diagnosis check(const std::string& text, const std::vector<std::string>& options = {}) {
    Diagnosis diagnosis = answer_of(
        {poold_path(), "check-config", directory.write("c.toml", text), "--json"}, options);
    if (!diagnosis.out.empty()) diagnosis.report = nlohmann::json::parse(diagnosis.out);
    return diagnosis;
  }

  TempDir directory;
};

TEST_F(CheckConfig, Valid) {
  const Diagnosis found = check("max_lanes = 64\n[[pool]]\nname = \"edge\"\n");
  EXPECT_EQ(found.status, 0) << found.err;
  expect_check(found, "config", "ok", {"c.toml is valid: 1 pool "});
  expect_check(found, "pool-rules", "ok");
  EXPECT_EQ(found.report.at("checks").size(), 2U) << "this host was not asked for";
}

TEST_F(CheckConfig, Invalid) {
  const Diagnosis found = check("mode = \"poll\"\n");
  EXPECT_EQ(found.status, 2);
  EXPECT_EQ(found.out, "");
  EXPECT_NE(found.err.find("c.toml:1:8: expected one of"), std::string::npos) << found.err;
}

TEST_F(CheckConfig, ShadowedAndTwice) {
  const std::string text =
      "[[pool]]\nname = \"a\"\ndestinations = [\"10.0.0.0/8\"]\n"
      "[[pool]]\nname = \"b\"\ndestinations = [\"10.0.4.0/24:443\"]\n"
      "[[pool]]\nname = \"a\"\ndestinations = [\"192.0.2.1\"]\n";
  const Diagnosis found = check(text);
  EXPECT_EQ(found.status, 1);
  expect_check(found, "pool-rules", "warn", {"pool \"b\" never applies"});
  EXPECT_EQ(found.check("pool-rules").at("evidence").at("idle").size(), 2U);
  expect_check(diagnose({"--config", directory.file("c.toml")}), "pool-rules", "warn",
               {"pool \"b\" never applies"});
}

// A configuration for another host can be checked; held against this one it does not fit.
TEST_F(CheckConfig, AgainstAHostThatItIsNotFor) {
  const std::string text =
      "[[pool]]\nname = \"edge\"\nsources = [\"192.0.2.77\"]\nport_range = \"50000-59999\"\n";
  EXPECT_EQ(check(text).status, 0);
  const Diagnosis found = check(text, {"--against-host"});
  EXPECT_EQ(found.status, 2);
  expect_check(found, "pool-sources", "fail", {"192.0.2.77 does not belong to this host"});
  expect_check(found, "pool-ranges", "fail", {"edge", "50000-59999"});
  const Diagnosis lenient = check("sources_optional = true\n" + text, {"--against-host"});
  expect_check(lenient, "pool-sources", "warn");
}

TEST_F(CheckConfig, PoolOfEachConnection) {
  const Holder first(SocketAddress(kServer), 7);
  const Holder second(SocketAddress(kOtherServer), 3);
  const std::string text =
      "[[pool]]\nname = \"one\"\ndestinations = [\"127.0.0.1:9001\"]\n"
      "sources = [\"127.0.0.1\", \"127.0.0.2\"]\n"
      "[[pool]]\nname = \"none\"\ndestinations = [\"127.0.0.1:9003\"]\n";
  const Diagnosis found = check(text, {"--against-host"});
  expect_check(found, "pool-use", "ok", {"3 lanes of 1,024"});
  const nlohmann::json pools = found.check("pool-use").at("evidence").at("pools");
  ASSERT_EQ(pools.size(), 3U);
  EXPECT_EQ(
      pools[0],
      nlohmann::json({{"name", "one"}, {"connections", 7}, {"destinations", 1}, {"lanes", 2}}));
  EXPECT_EQ(pools[1].at("connections"), 0);
  EXPECT_EQ(pools[2].at("name"), "default");
  EXPECT_EQ(pools[2].at("connections"), 3);
  const Diagnosis small = check("max_lanes = 2\n" + text, {"--against-host"});
  EXPECT_EQ(small.status, 1);
  expect_check(small, "pool-use", "warn", {"3 lanes of 2"});
  EXPECT_TRUE(small.check("pool-use").at("fix").get<std::string>().starts_with("max_lanes = 4"));
}

TEST_F(SmallNet, AConfigurationWithoutRangesIsOne) {
  const TempDir directory;
  const std::string config = directory.write("c.toml", "[[pool]]\nname = \"edge\"\n");
  expect_check(diagnose({"--config", config}), "pool-ranges", "ok", {"no pool names a port_range"});
  expect_check(diagnose(), "pool-ranges", "ok", {"no configuration given"});
  const std::string bind =
      directory.write("b.toml", "strategy = \"bind\"\n[[pool]]\nport_range = \"50000-59999\"\n");
  expect_check(diagnose({"--config", bind}), "pool-ranges", "ok", {"bind"});
}

}  // namespace
}  // namespace portpool::test
