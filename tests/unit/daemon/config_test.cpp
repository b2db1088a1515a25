// The configuration file: what is taken, and that what is refused is named with its place.
#include "daemon/config.h"

#include <gtest/gtest.h>

#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "daemon/config_keys.h"
#include "lanes/segment.h"

namespace portpool::test {
namespace {

Config read(std::string_view text) { return parse_config(text, "c.toml"); }

std::string error_of(std::string_view text) {
  try {
    read(text);
  } catch (const UserError& error) {
    return error.what();
  }
  return "taken without an error";
}

TEST(Config, EmptyTextIsTheDefault) {
  for (const Config& config : {read(""), read("# nothing\n"), default_config()}) {
    EXPECT_EQ(config.mode, Mode::pool);
    EXPECT_EQ(config.socket, kDefaultSocket);
    EXPECT_EQ(config.socket_group, "");
    EXPECT_EQ(config.max_lanes, 1024U);
    EXPECT_FALSE(config.metrics_listen) << "several daemons on a host must not collide";
    ASSERT_EQ(config.pools.size(), 1U);
    EXPECT_EQ(config.pools[0].name, "default");
    EXPECT_TRUE(config.pools[0].destinations.empty());
    EXPECT_FALSE(config.pools[0].port_range);
  }
}

std::string expect_error(const std::string& text) { return error_of("[expect]\n" + text); }

TEST(Config, TakesWhoIsExpected) {
  const Config config = read(R"(
[expect]
units = ["nginx.service", 'dev-a\x2db@1.service', "run-r1.scope", "docker-0123456789ab", "0123456789ab"]
programs = ["java", "nginx.service", "a b\"c", "123456789012345"]
)");
  ASSERT_EQ(config.expected.size(), 9U);
  EXPECT_EQ(config.expected[1], (Expected{ExpectedKind::program, "nginx.service"}));
  EXPECT_EQ(config.expected[4], (Expected{ExpectedKind::unit, "nginx.service"}));
  EXPECT_EQ(config.expected[5].name, "dev-a\\x2db@1.service");
  EXPECT_TRUE(read("[expect]\n").expected.empty());
  EXPECT_TRUE(read("[expect]\nunits = []\n").expected.empty());
  EXPECT_NE(config.hash, read("").hash);
  EXPECT_EQ(read("mode = \"pool\"").hash, read("mode = \"pool\"").hash);
}

TEST(Config, RefusesWhoCannotBeExpected) {
  EXPECT_EQ(expect_error("names = []"),
            "c.toml:2:1: unknown key \"names\"; known here: units, programs");
  EXPECT_EQ(error_of("expect = 1"),
            "c.toml:1:10: expected an [expect] table (with one pair of brackets)");
  EXPECT_EQ(error_of("[[expect]]"),
            "c.toml:1:1: expected an [expect] table (with one pair of brackets)");
  EXPECT_EQ(expect_error("programs = \"java\""),
            "c.toml:2:12: expected a list of names of programs such as \"java\"");
  EXPECT_EQ(expect_error("programs = [1]"),
            "c.toml:2:13: expected names of programs such as \"java\"");
  EXPECT_EQ(expect_error("programs = [\"\"]"), "c.toml:2:13: expected a name, not \"\"");
  EXPECT_EQ(expect_error("programs = [\"a\", \"a\"]"), "c.toml:2:18: \"a\" stands here twice");
  for (const char* control : {"a\\nb", "\\u001b[31m", "\\u0085", "a\\u202eb", "\\u007f"}) {
    EXPECT_EQ(expect_error("programs = [\"" + std::string(control) + "\"]"),
              "c.toml:2:13: this name has a control character in it");
  }
  EXPECT_EQ(expect_error("programs = [\"prometheus-node-exporter\"]"),
            "c.toml:2:13: the kernel keeps 15 bytes of a program's name: \"prometheus-node\"");
  for (const char* unit : {"nginx", "nginx.socket", "docker-0123456789abcdef", "0123456789a"}) {
    EXPECT_EQ(expect_error("units = [\"" + std::string(unit) + "\"]"),
              "c.toml:2:10: \"" + std::string(unit) +
                  "\" is neither a unit such as \"nginx.service\" nor a container such as "
                  "\"docker-0123456789ab\"; poold status --clients shows how they are called");
  }
  EXPECT_EQ(expect_error("units = [\"" + std::string(120, 'a') + ".service\"]"),
            "c.toml:2:10: expected a name of at most 127 bytes");
  std::string many = "programs = [";
  for (int i = 0; i < 65; ++i) many += "\"p" + std::to_string(i) + "\", ";
  EXPECT_NE(expect_error(many + "]").find("at most 64 units and programs are possible"),
            std::string::npos);
}

TEST(Config, TakesEveryKey) {
  const Config config = read(R"(
mode = "observe"
strategy = "bind"
metrics_listen = "[::1]:9481"
socket = "/tmp/p.sock"
socket_group = "daemon"
max_lanes = 16384
[[pool]]
name = "edge"
destinations = ["10.0.4.0/24:443", "[2001:db8::]/32"]
port_range = "20000-60999"
sources = ["127.0.0.5", "127.0.0.8/30", "127.0.0.9"]
source_policy = "balance"
on_exhaustion = "fail-fast"
early_bind = "real"
[[pool]]
)");
  EXPECT_EQ(config.mode, Mode::observe);
  EXPECT_EQ(config.strategy, StrategyChoice::bind);
  EXPECT_EQ(config.socket, "/tmp/p.sock");
  ASSERT_TRUE(config.metrics_listen);
  EXPECT_EQ(to_text(*config.metrics_listen), "[::1]:9481");
  EXPECT_EQ(config.socket_group, "daemon");
  EXPECT_EQ(config.max_lanes, 16384U);
  ASSERT_EQ(config.pools.size(), 3U);
  EXPECT_EQ(config.pools[0].name, "edge");
  ASSERT_EQ(config.pools[0].destinations.size(), 2U);
  EXPECT_EQ(config.pools[0].destinations[0].port, 443);
  EXPECT_EQ(config.pools[0].destinations[1].prefix.bits, 32U);
  EXPECT_EQ(config.pools[0].port_range, (kernel::PortRange{20000, 60999}));
  const std::vector<Address>& sources = config.pools[0].sources;
  ASSERT_EQ(sources.size(), 5U) << "each address once";
  EXPECT_EQ(to_text(sources[0]), "127.0.0.5");
  EXPECT_EQ(to_text(sources[1]), "127.0.0.8");
  EXPECT_EQ(to_text(sources[4]), "127.0.0.11");
  EXPECT_EQ(config.pools[0].source_policy, SourcePolicy::balance);
  EXPECT_EQ(config.pools[0].on_exhaustion, OnExhaustion::fail_fast);
  EXPECT_EQ(config.pools[0].early_bind, EarlyBind::real);
  EXPECT_TRUE(config.pools[1].sources.empty());
  EXPECT_EQ(config.pools[1].source_policy, SourcePolicy::fill);
  EXPECT_EQ(config.pools[1].on_exhaustion, OnExhaustion::kernel);
  EXPECT_EQ(config.pools[1].early_bind, EarlyBind::promise);
  EXPECT_EQ(config.pools[1].name, "pool2") << "a pool without a name is called by its number";
  EXPECT_EQ(config.pools[2].name, "default") << "the implicit last one";
}

TEST(Config, AbsentSources) {
  const std::string text =
      "[[pool]]\nsources = [\"127.0.0.2\", \"192.0.2.77\", \"192.0.2.80/30\"]\n";
  const std::string error = error_of(text);
  EXPECT_TRUE(error.starts_with("c.toml:2:25: source 192.0.2.77 does not belong")) << error;
  EXPECT_NE(error.find("sources_optional = true"), std::string::npos) << error;
  EXPECT_EQ(error_of("sources_optional = false\n" + text).substr(0, 12), "c.toml:3:25:");
  for (const Config& config : {read("sources_optional = true\n" + text),
                               parse_config(text, "c.toml", AbsentSources::warning)}) {
    EXPECT_EQ(config.pools[0].sources.size(), 1U);
    EXPECT_EQ(config.pools[0].source_entries.size(), 3U);
    ASSERT_EQ(config.absent_sources.size(), 2U);
    EXPECT_NE(config.absent_sources[1].find("192.0.2.80/30"), std::string::npos)
        << config.absent_sources[1];
  }
  EXPECT_EQ(error_of("sources_optional = 1"), "c.toml:1:20: expected true or false");
}

TEST(Config, ModeAb) {
  EXPECT_EQ(read("mode = \"ab\"").mode, Mode::ab);
  EXPECT_EQ(read("mode = \"ab\"").ab_block, kDefaultAbBlock);
  EXPECT_EQ(read("ab_block_ms = 20").ab_block, std::chrono::milliseconds(20));
}

TEST(Config, PortRanges) {
  const auto range = [](const std::string& text) {
    return read("[[pool]]\nport_range = \"" + text + "\"").pools[0].port_range;
  };
  EXPECT_EQ(range("1-65535"), (kernel::PortRange{1, 65535}));
  EXPECT_EQ(range("40000-40000"), (kernel::PortRange{40000, 40000}));
  EXPECT_EQ(range("40000"), (kernel::PortRange{40000, 40000}));
  for (const char* text : {"", "0-100", "60999-20000", "1-65536", "1-2,4-5", "1-", "-1", "a-b",
                           "1 - 2", "1-2 ", "1-2-3"}) {
    EXPECT_EQ(error_of("[[pool]]\nport_range = \"" + std::string(text) + "\""),
              "c.toml:2:14: expected a port range such as \"20000-60999\"")
        << text;
  }
}

struct Refused {
  const char* text;
  const char* begins;    // the place
  const char* contains;  // what was expected
};

TEST(Config, RefusalsNameThePlaceAndWhatWasExpected) {
  for (const Refused& refused : {
           Refused{"mode = \"fast\"", "c.toml:1:8: ", "expected one of "},
           Refused{"mode = 1", "c.toml:1:8: ", "\"observe\""},
           Refused{"mode = \"AB\"", "c.toml:1:8: ", "\"ab\""},
           Refused{"ab_block_ms = 19", "c.toml:1:15: ", "from 20 to 3600000"},
           Refused{"ab_block_ms = \"2s\"", "c.toml:1:15: ", "from 20 to 3600000"},
           Refused{"\n\nmode = true", "c.toml:3:8: ", "\"pool\""},
           Refused{"socket = 7", "c.toml:1:10: ", "expected a path in quotes"},
           Refused{"socket_group = [\"a\"]", "c.toml:1:16: ", "expected a group's name in quotes"},
           Refused{"max_lanes = 0", "c.toml:1:13: ", "expected a whole number from 1 to 16384"},
           Refused{"max_lanes = 16385", "c.toml:1:13: ", "expected a whole number from 1 to"},
           Refused{"max_lanes = -1", "c.toml:1:13: ", "expected a whole number"},
           Refused{"max_lanes = 1.5", "c.toml:1:13: ", "expected a whole number"},
           Refused{"max_lanes = \"9\"", "c.toml:1:13: ", "expected a whole number"},
           Refused{"max_lanes = 9223372036854775807", "c.toml:1:13: ", "expected a whole number"},
           Refused{"strategy = \"fast\"", "c.toml:1:12: ", "\"port-range\""},
           Refused{"metrics_listen = \"lo:1\"", "c.toml:1:18: ", "\"lo:1\" is not an address and"},
           Refused{"metrics_listen = 1", "c.toml:1:18: ", "expected an address and port"},
           Refused{"[[pool]]\nsources = \"127.0.0.1\"",
                   "c.toml:2:11: ", "expected a list of source"},
           Refused{"[[pool]]\nsources = [1]", "c.toml:2:12: ", "expected source addresses such as"},
           Refused{"[[pool]]\nsources = [\"lo\"]",
                   "c.toml:2:12: ", "\"lo\" is not one of the source"},
           Refused{"[[pool]]\nsources = [\"192.0.2.77\"]",
                   "c.toml:2:12: ", "not belong to this host"},
           Refused{"[[pool]]\nsource_policy = \"x\"", "c.toml:2:17: ", "\"balance\""},
           Refused{"[[pool]]\non_exhaustion = false", "c.toml:2:17: ", "\"fail-fast\""},
           Refused{"[[pool]]\noutside_range = \"refuse\"",
                   "c.toml:2:17: ", "means nothing without a port_range"},
           Refused{"[[pool]]\nearly_bind = \"late\"", "c.toml:2:14: ", "\"promise\""},
           Refused{"[pool]\nname = \"a\"", "c.toml:1:", "expected [[pool]] tables"},
           Refused{"pool = \"a\"", "c.toml:1:8: ", "expected [[pool]] tables"},
           Refused{"pool = [1]", "c.toml:1:9: ", "expected a [[pool]] table"},
           Refused{"[[pool]]\nname = 5", "c.toml:2:8: ", "expected a name in quotes"},
           Refused{"[[pool]]\nname = \"\"", "c.toml:2:8: ", "expected a name of 1 to 63 bytes"},
           Refused{"[[pool]]\ndestinations = \"10.0.0.1\"", "c.toml:2:16: ", "expected a list of"},
           Refused{"[[pool]]\ndestinations = [10]",
                   "c.toml:2:17: ", "expected destinations such as"},
           Refused{"[[pool]]\ndestinations = [\"10.0.0.1\",\n  \"10.0.0.300\"]",
                   "c.toml:3:3: ", "\"10.0.0.300\" is not one of the destinations such as"},
           Refused{"[[pool]]\nport_range = 20000", "c.toml:2:14: ", "expected a port range"},
           Refused{"[[pool]]\nexclude = \"10.0.0.1\"",
                   "c.toml:2:11: ", "expected a list of destinations such as"},
           Refused{"[[pool]]\nexclude = [\"10.0.0.1\", \"10.0.0.1/24\"]",
                   "c.toml:2:24: ", "\"10.0.0.1/24\" is not one of the destinations such as"},
           Refused{"[[pool]]\npool = \"all\"", "c.toml:2:8: ", "expected one of \"none\""},
           Refused{"[[pool]]\npool = false", "c.toml:2:8: ", "expected one of \"none\""},
           Refused{"[[pool]]\npool = \"none\"\nsources = [\"127.0.0.1\"]",
                   "c.toml:3:1: ", "sources means nothing together with pool = \"none\""},
           Refused{"[[pool]]\nport_range = \"1024-2000\"\npool = \"none\"",
                   "c.toml:2:1: ", "port_range means nothing together with pool = \"none\""},
       }) {
    const std::string error = error_of(refused.text);
    EXPECT_TRUE(error.starts_with(refused.begins)) << refused.text << "\n" << error;
    EXPECT_NE(error.find(refused.contains), std::string::npos) << refused.text << "\n" << error;
  }
}

// The line above the keys of each part.
const std::vector<std::pair<std::string, std::span<const ConfigKey>>> kParts = {
    {"", kConfigKeys}, {"[[pool]]\n", kPoolKeys}, {"[expect]\n", kExpectKeys}};

TEST(Config, AnUnknownKeyIsNamedWithThoseThatExist) {
  for (const auto& [above, keys] : kParts) {
    const std::string error = error_of(above + "colour = 1");
    EXPECT_NE(error.find(":1: unknown key \"colour\"; known here: "), std::string::npos) << error;
    for (const ConfigKey& key : keys) {
      EXPECT_NE((error + ",").find(" " + std::string(key.name) + ","), std::string::npos) << error;
    }
  }
  EXPECT_EQ(error_of("\nmodes = \"pool\""),
            "c.toml:2:1: unknown key \"modes\"; did you mean \"mode\"?");
  EXPECT_EQ(error_of("[[pool]]\nsource = [\"10.0.0.1\"]"),
            "c.toml:2:1: unknown key \"source\"; did you mean \"sources\"?");
  // What is written below a [[pool]] is that pool's.
  EXPECT_EQ(error_of("[[pool]]\nname = \"a\"\nmode = \"pool\""),
            "c.toml:3:1: \"mode\" belongs before the first [[pool]] or [expect]");
  EXPECT_EQ(error_of("units = [\"a.service\"]"), "c.toml:1:1: \"units\" belongs under [expect]");
  EXPECT_EQ(error_of("sources = [\"10.0.0.1\"]"),
            "c.toml:1:1: \"sources\" belongs under a [[pool]]");
}

// The defaults and types of the table, from which the manual page is made, are those of the parser.
TEST(Config, KeysAreAsTheirTableSays) {
  for (const auto& [above, keys] : kParts) {
    for (const ConfigKey& key : keys) {
      const std::string name(key.name);
      SCOPED_TRACE(name);
      const std::string type(key.type);
      const std::string fallback(key.fallback);
      const std::map<std::string, std::string> others = {
          {"string", "[1]"},          {"integer", "\"1\""},       {"boolean", "1"},
          {"list of strings", "[1]"}, {"array of tables", "[1]"}, {"table", "1"}};
      ASSERT_TRUE(others.contains(type));
      const std::string refused = error_of(above + name + " = " + others.at(type));
      EXPECT_NE(refused.find(": expected "), std::string::npos) << refused;
      const bool is_value = fallback == "false" || fallback == "\"\"" ||
                            std::isdigit(static_cast<unsigned char>(fallback[0])) != 0 ||
                            (fallback[0] == '"' && fallback.find(',') == std::string::npos);
      if (!is_value) continue;
      const Config with = read(above + name + " = " + fallback);
      const Config without = read(above);
      EXPECT_EQ(with.mode, without.mode);
      EXPECT_EQ(with.ab_block, without.ab_block);
      EXPECT_EQ(with.strategy, without.strategy);
      EXPECT_EQ(with.socket, without.socket);
      EXPECT_EQ(with.metrics_listen, without.metrics_listen);
      EXPECT_EQ(with.log_level, without.log_level);
      EXPECT_EQ(with.max_lanes, without.max_lanes);
      EXPECT_EQ(with.sources_optional, without.sources_optional);
      EXPECT_EQ(with.pools[0].source_policy, without.pools[0].source_policy);
      EXPECT_EQ(with.pools[0].on_exhaustion, without.pools[0].on_exhaustion);
      EXPECT_EQ(with.pools[0].early_bind, without.pools[0].early_bind);
      EXPECT_EQ(with.pools[0].outside_range, without.pools[0].outside_range);
    }
  }
}

// docs/configuration.md has a row for each key, with its default.
TEST(Config, ThePageHasEachKey) {
  std::ifstream page(PORTPOOL_CONFIGURATION_PAGE);
  std::vector<std::pair<std::string, std::string>> rows;
  for (std::string line; std::getline(page, line) && line != "## Addresses that move";) {
    std::smatch row;
    if (!std::regex_search(line, row, std::regex("^\\| `([^|]+)` \\| ([^|]+) \\| "))) continue;
    rows.emplace_back(row[1], std::regex_replace(row[2].str(), std::regex("`"), ""));
  }
  std::vector<std::pair<std::string, std::string>> expected;
  for (const ConfigKey& key : kConfigKeys) {
    const std::string name(key.name);
    expected.emplace_back(name == "pool"     ? "[[pool]]"
                          : name == "expect" ? "[expect]"
                                             : name,
                          key.fallback);
  }
  for (const ConfigKey& key : kPoolKeys) expected.emplace_back(key.name, key.fallback);
  for (const ConfigKey& key : kExpectKeys) expected.emplace_back(key.name, key.fallback);
  EXPECT_EQ(rows, expected);
}

TEST(Config, BrokenTomlIsRefusedWithItsPlace) {
  EXPECT_TRUE(error_of("mode = \"pool").starts_with("c.toml:1:")) << error_of("mode = \"pool");
  EXPECT_TRUE(error_of("\nmode = ").starts_with("c.toml:2:")) << error_of("\nmode = ");
  EXPECT_TRUE(error_of("mode = \"pool\"\nmode = \"pool\"").starts_with("c.toml:2:"));
  EXPECT_TRUE(error_of("a b").starts_with("c.toml:1:"));
  EXPECT_TRUE(error_of("socket = \"\xFF\"").starts_with("c.toml:1:"));
}

TEST(Config, WhatIsKeptOut) {
  const Config config = read(
      "[[pool]]\nexclude = [\"10.0.0.0/8:21\", \"[2001:db8::]/32\"]\n"
      "[[pool]]\ndestinations = [\"10.0.0.0/8\"]\npool = \"none\"\n");
  ASSERT_EQ(config.pools.size(), 3U);
  EXPECT_TRUE(config.pools[0].serves);
  EXPECT_FALSE(config.pools[1].serves);
  EXPECT_TRUE(config.pools[2].serves);
  EXPECT_EQ(rule_for(config.pools, {*parse_address("10.1.2.3"), 22}), 0U);
  EXPECT_EQ(rule_for(config.pools, {*parse_address("10.1.2.3"), 21}), 1U);
  EXPECT_EQ(rule_for(config.pools, {*parse_address("2001:db8::1"), 22}), 2U);
}

TEST(Config, NamesOfUpTo63Bytes) {
  const auto named = [](std::size_t length) {
    return "[[pool]]\nname = \"" + std::string(length, 'n') + "\"";
  };
  EXPECT_EQ(read(named(63)).pools[0].name.size(), 63U);
  EXPECT_NE(error_of(named(64)).find("expected a name of 1 to 63 bytes"), std::string::npos);
}

TEST(Config, AsManyPoolsAsTheSegmentHolds) {
  std::string text;
  for (std::uint32_t i = 0; i + 1 < kMaxPools; ++i) text += "[[pool]]\n";
  EXPECT_EQ(read(text).pools.size(), kMaxPools);
  EXPECT_NE(error_of(text + "[[pool]]\n").find("at most 63 pools"), std::string::npos);
}

class ConfigFile : public ::testing::Test {
 protected:
  ConfigFile() {
    char name[] = "/tmp/portpool-config-XXXXXX";
    folder_ = mkdtemp(name);
  }
  ~ConfigFile() override { std::filesystem::remove_all(folder_); }

  std::string write(const std::string& text) const {
    const std::string path = folder_ / "portpool.toml";
    std::ofstream(path) << text;
    return path;
  }
  static std::string error(const std::string& path) {
    try {
      load_config(path);
    } catch (const UserError& caught) {
      return caught.what();
    }
    return "taken without an error";
  }

  std::filesystem::path folder_;
};

TEST_F(ConfigFile, IsRead) { EXPECT_EQ(load_config(write("max_lanes = 5\n")).max_lanes, 5U); }

TEST_F(ConfigFile, ErrorsNameTheFile) {
  const std::string path = write("max_lanes = 0\n");
  EXPECT_TRUE(error(path).starts_with(path + ":1:13: ")) << error(path);
  EXPECT_EQ(error("/nonexistent/c.toml"),
            "cannot read the configuration /nonexistent/c.toml: No such file or directory");
}

// Once: a directory opens and yields no byte, and so passes for an empty file.
TEST_F(ConfigFile, ADirectoryIsRefused) {
  EXPECT_NE(error(folder_).find("it is a directory"), std::string::npos) << error(folder_);
}

TEST_F(ConfigFile, MayBeEmpty) { EXPECT_EQ(load_config(write("")).max_lanes, 1024U); }

}  // namespace
}  // namespace portpool::test
