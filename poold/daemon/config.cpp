#include "daemon/config.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <grp.h>
#include <ifaddrs.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <map>
#include <span>

#define TOML_EXCEPTIONS 1
#include <toml++/toml.h>

#include "base/address_text.h"
#include "base/descriptor.h"
#include "base/error.h"
#include "base/suggestion.h"
#include "base/text.h"
#include "daemon/config_keys.h"
#include "kernel/addresses.h"
#include "kernel/routes.h"
#include "lanes/rule_review.h"
#include "lanes/segment.h"

namespace portpool {
namespace {

constexpr std::string_view kSourceForm = "source addresses such as \"10.0.0.5\" or \"10.0.0.8/30\"";

class Reader {
 public:
  explicit Reader(std::string name) : name_(std::move(name)) {}

  std::string placed(const toml::source_position& at, const std::string& text) const {
    return fmt::format("{}:{}:{}: {}", name_, at.line, at.column, text);
  }

  [[noreturn]] void fail(const toml::source_position& at, const std::string& text) const {
    throw UserError(placed(at, text));
  }

  [[noreturn]] void fail(const toml::node& node, const std::string& text) const {
    fail(node.source().begin, text);
  }

  using Take = std::function<void(const toml::node&)>;

  // Hands each key to its function, which there is for each of `known`; refuses the others, and
  // says of those of another part of the file where they belong.
  void keys(const toml::table& table, const std::map<std::string, Take, std::less<>>& takers,
            std::span<const ConfigKey> known) const {
    const auto has = [](std::span<const ConfigKey> keys, std::string_view name) {
      return std::any_of(keys.begin(), keys.end(),
                         [&](const ConfigKey& key) { return key.name == name; });
    };
    for (const auto& [key, node] : table) {
      const std::string name(key.str());
      if (has(known, name)) {
        takers.at(name)(node);
        continue;
      }
      for (const ConfigPart& part : kConfigParts) {
        if (has(part.keys, name)) {
          fail(key.source().begin, fmt::format("\"{}\" belongs {}", name, part.place));
        }
      }
      std::vector<std::string> names;
      for (const ConfigKey& one : known) names.emplace_back(one.name);
      fail(key.source().begin,
           fmt::format(
               "unknown key \"{}\"; {}", name,
               did_you_mean(name, names, fmt::format("known here: {}", fmt::join(names, ", ")))));
    }
  }

  std::string text(const toml::node& node, std::string_view expected) const {
    const auto value = node.value_exact<std::string>();
    if (!value) fail(node, fmt::format("expected {}", expected));
    return *value;
  }

  std::vector<std::pair<std::string, const toml::node*>> texts(const toml::node& node,
                                                               std::string_view expected) const {
    const toml::array* array = node.as_array();
    if (array == nullptr) fail(node, fmt::format("expected a list of {}", expected));
    std::vector<std::pair<std::string, const toml::node*>> result;
    for (const toml::node& item : *array) result.emplace_back(text(item, expected), &item);
    return result;
  }

  template <class Value>
  Value one_of(const toml::node& node, const std::map<std::string, Value>& values) const {
    std::string names;
    for (const auto& [name, value] : values)
      names += fmt::format("{}\"{}\"", names.empty() ? "" : ", ", name);
    const auto found = values.find(text(node, "one of " + names));
    if (found == values.end()) fail(node, "expected one of " + names);
    return found->second;
  }

  std::uint32_t number(const toml::node& node, std::uint32_t low, std::uint32_t high) const {
    const auto value = node.value_exact<std::int64_t>();
    if (!value || *value < low || *value > high) {
      fail(node, fmt::format("expected a whole number from {} to {}", low, high));
    }
    return static_cast<std::uint32_t>(*value);
  }

  bool yes_or_no(const toml::node& node) const {
    const auto value = node.value_exact<bool>();
    if (!value) fail(node, "expected true or false");
    return *value;
  }

  struct Absent {  // a source
    toml::source_position at;
    SourceProblem problem;
  };

  PoolRule pool(const toml::node& node, std::vector<Absent>& absent) const {
    const toml::table* table = node.as_table();
    if (table == nullptr) fail(node, "expected a [[pool]] table");
    PoolRule rule;
    rule.name.clear();
    keys(*table,
         {
             {"name",
              [&](const toml::node& n) {
                rule.name = text(n, "a name in quotes");
                if (rule.name.empty() || rule.name.size() > 63) {
                  fail(n, "expected a name of 1 to 63 bytes");
                }
              }},
             {"destinations", [&](const toml::node& n) { rule.destinations = patterns(n); }},
             {"exclude", [&](const toml::node& n) { rule.exclude = patterns(n); }},
             {"pool",
              [&](const toml::node& n) {
                one_of<bool>(n, {{"none", false}});
                rule.serves = false;
              }},
             {"sources",
              [&](const toml::node& n) {
                for (const auto& [item, at] : texts(n, kSourceForm)) {
                  const auto problem = add_source(rule, item);
                  if (!problem) continue;
                  if (problem->kind == SourceProblem::Kind::wrong) fail(*at, problem->text);
                  absent.push_back({at->source().begin, *problem});
                }
              }},
             {"source_policy",
              [&](const toml::node& n) {
                rule.source_policy = one_of<SourcePolicy>(
                    n, {{"fill", SourcePolicy::fill}, {"balance", SourcePolicy::balance}});
              }},
             {"on_exhaustion",
              [&](const toml::node& n) {
                rule.on_exhaustion = one_of<OnExhaustion>(
                    n, {{"kernel", OnExhaustion::kernel}, {"fail-fast", OnExhaustion::fail_fast}});
              }},
             {"early_bind",
              [&](const toml::node& n) {
                rule.early_bind = one_of<EarlyBind>(
                    n, {{"promise", EarlyBind::promise}, {"real", EarlyBind::real}});
              }},
             {"outside_range",
              [&](const toml::node& n) {
                rule.outside_range = one_of<OutsideRange>(
                    n, {{"kernel", OutsideRange::kernel}, {"refuse", OutsideRange::refuse}});
              }},
             {"port_range", [&](const toml::node& n) { rule.port_range = range(n); }},
         },
         kPoolKeys);
    if (!rule.serves) refuse_settings_of_lanes(*table);
    if (rule.outside_range == OutsideRange::refuse && !rule.port_range) {
      fail(*table->get("outside_range"), "\"refuse\" means nothing without a port_range; name one");
    }
    return rule;
  }

  std::vector<DestinationPattern> patterns(const toml::node& node) const {
    constexpr std::string_view kForm =
        "destinations such as \"10.0.4.0/24:443\" or \"[2001:db8::]/32\"";
    std::vector<DestinationPattern> patterns;
    for (const auto& [item, at] : texts(node, kForm)) {
      const auto pattern = parse_destination(item);
      if (!pattern) fail(*at, fmt::format("\"{}\" is not one of the {}", item, kForm));
      patterns.push_back(*pattern);
    }
    return patterns;
  }

  // A rule without lanes that says how they shall be is a mistake of one or the other.
  void refuse_settings_of_lanes(const toml::table& table) const {
    for (const auto& [key, node] : table) {
      for (const char* setting : {"sources", "source_policy", "port_range", "on_exhaustion",
                                  "early_bind", "outside_range"}) {
        if (key.str() != setting) continue;
        fail(key.source().begin,
             fmt::format("{} means nothing together with pool = \"none\"; remove one of them",
                         setting));
      }
    }
  }

  kernel::PortRange range(const toml::node& node) const {
    constexpr std::string_view kForm = "a port range such as \"20000-60999\"";
    const auto list = kernel::parse_port_list(text(node, kForm));
    if (!list || list->size() != 1 || list->front().low == 0) {
      fail(node, fmt::format("expected {}", kForm));
    }
    return list->front();
  }

  std::vector<Expected> expected(const toml::node& node) const {
    const toml::table* table = node.as_table();
    if (table == nullptr) fail(node, "expected an [expect] table (with one pair of brackets)");
    std::vector<Expected> list;
    const auto add = [&](const toml::node& names, ExpectedKind kind, std::string_view form) {
      for (auto& [name, at] : texts(names, form)) {
        const std::string problem = problem_with(kind, name);
        if (!problem.empty()) fail(*at, problem);
        Expected one{kind, std::move(name)};
        if (std::find(list.begin(), list.end(), one) != list.end()) {
          fail(*at, fmt::format("\"{}\" stands here twice", one.name));
        }
        list.push_back(std::move(one));
        if (list.size() > kMostExpected) {
          fail(*at, fmt::format("at most {} units and programs are possible", kMostExpected));
        }
      }
    };
    keys(*table,
         {{"units",
           [&](const toml::node& n) {
             add(n, ExpectedKind::unit, "units such as \"nginx.service\"");
           }},
          {"programs",
           [&](const toml::node& n) {
             add(n, ExpectedKind::program, "names of programs such as \"java\"");
           }}},
         kExpectKeys);
    return list;
  }

  // What is wrong with a name under [expect]; "": nothing.
  static std::string problem_with(ExpectedKind kind, const std::string& name) {
    constexpr std::size_t kComm = 15;  // as the kernel keeps a process's name
    if (name.empty()) return "expected a name, not \"\"";
    if (for_terminal(name) != name) return "this name has a control character in it";
    if (kind == ExpectedKind::program) {
      if (name.size() <= kComm) return "";
      return fmt::format("the kernel keeps {} bytes of a program's name: \"{}\"", kComm,
                         for_terminal(name.substr(0, kComm)));
    }
    if (name.size() >= sizeof ExpectedClient::name) {
      return fmt::format("expected a name of at most {} bytes", sizeof ExpectedClient::name - 1);
    }
    if (name.ends_with(".service") || name.ends_with(".scope")) return "";
    // Of a container's number 12 digits are shown.
    const std::size_t other = name.find_last_not_of("0123456789abcdef");
    const std::size_t digits = name.size() - (other == std::string::npos ? 0 : other + 1);
    if (digits == 12) return "";
    return fmt::format(
        "\"{}\" is neither a unit such as \"nginx.service\" nor a container such as "
        "\"docker-0123456789ab\"; poold status --clients shows how they are called",
        name);
  }

  Config config(const toml::table& root, AbsentSources when_absent) const {
    Config config;
    std::vector<Absent> absent;
    keys(
        root,
        {
            {"mode",
             [&](const toml::node& n) {
               config.mode = one_of<Mode>(
                   n, {{"pool", Mode::pool}, {"observe", Mode::observe}, {"ab", Mode::ab}});
             }},
            {"ab_block_ms",
             [&](const toml::node& n) {
               config.ab_block = std::chrono::milliseconds(
                   number(n, kShortestAbBlock.count(), kLongestAbBlock.count()));
             }},
            {"strategy",
             [&](const toml::node& n) {
               config.strategy =
                   one_of<StrategyChoice>(n, {{"auto", StrategyChoice::automatic},
                                              {"port-range", StrategyChoice::port_range},
                                              {"bind", StrategyChoice::bind}});
             }},
            {"socket", [&](const toml::node& n) { config.socket = text(n, "a path in quotes"); }},
            {"socket_group",
             [&](const toml::node& n) {
               config.socket_group = text(n, "a group's name in quotes");
               if (!config.socket_group.empty() &&
                   getgrnam(config.socket_group.c_str()) == nullptr) {
                 fail(n, fmt::format("group \"{0}\" does not exist; create it with: groupadd {0}",
                                     config.socket_group));
               }
             }},
            {"metrics_listen",
             [&](const toml::node& n) {
               constexpr std::string_view kForm =
                   "an address and port such as \"127.0.0.1:9481\" or \"[::1]:9481\", or \"\"";
               const std::string place = text(n, kForm);
               if (place.empty()) return;
               config.metrics_listen = parse_endpoint(place);
               if (!config.metrics_listen) fail(n, fmt::format("\"{}\" is not {}", place, kForm));
             }},
            {"log_level",
             [&](const toml::node& n) { config.log_level = one_of<LogLevel>(n, log_levels()); }},
            {"max_lanes", [&](const toml::node& n) { config.max_lanes = number(n, 1, kMaxLanes); }},
            {"sources_optional",
             [&](const toml::node& n) { config.sources_optional = yes_or_no(n); }},
            {"expect", [&](const toml::node& n) { config.expected = expected(n); }},
            {"pool",
             [&](const toml::node& n) {
               const toml::array* pools = n.as_array();
               if (pools == nullptr) fail(n, "expected [[pool]] tables (with two brackets)");
               for (const toml::node& item : *pools) {
                 config.pools.push_back(pool(item, absent));
                 if (config.pools.back().name.empty()) {
                   config.pools.back().name = fmt::format("pool{}", config.pools.size());
                 }
               }
               if (config.pools.size() >= kMaxPools) {
                 fail(n, fmt::format("at most {} pools are possible", kMaxPools - 1));
               }
             }},
        },
        kConfigKeys);
    config.pools.push_back(PoolRule{});
    if (const std::size_t rows = port_rules(config.pools).size(); rows > kMaxPortRules) {
      fail(root,
           fmt::format("with outside_range = \"refuse\" all pools together can name at most {} "
                       "destinations, and these are {}",
                       kMaxPortRules - 1, rows - 1));
    }
    for (const auto& [at, problem] : absent) {
      const bool is_error = when_absent == AbsentSources::error && !config.sources_optional &&
                            problem.kind == SourceProblem::Kind::absent;
      if (is_error) {
        fail(at, problem.text + ", or start without it: sources_optional = true");
      }
      config.absent_sources.push_back(
          placed(at, problem.text + "; it is used as soon as it is there"));
    }
    for (const std::string& sentence : review_of(config.pools)) {
      config.idle_rules.push_back(name_ + ": " + sentence);
    }
    return config;
  }

 private:
  std::string name_;
};

// FNV-1a.
std::uint32_t hash_of(std::string_view text) {
  std::uint32_t hash = 2166136261U;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619U;
  return hash;
}

const char* kind_of(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFDIR:
      return "a directory";
    case S_IFIFO:
      return "a FIFO or pipe";
    case S_IFSOCK:
      return "a socket";
    default:
      return "a device";
  }
}

std::string content_of(const std::string& path) {
  const std::string trouble = "cannot read the configuration " + path;
  // Opening a FIFO does not wait for a writer then; regular files take no notice (open(2)).
  const Descriptor file(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  struct stat info {};
  if (!file || fstat(file.get(), &info) != 0) throw UserError(with_errno(trouble));
  if (!S_ISREG(info.st_mode)) {
    throw UserError(
        fmt::format("{}: it is {}, and must be a regular file", trouble, kind_of(info.st_mode)));
  }
  std::string text;
  char part[16384];
  ssize_t got = 0;
  while ((got = read(file.get(), part, sizeof part)) > 0 || (got < 0 && errno == EINTR)) {
    if (got > 0) text.append(part, static_cast<std::size_t>(got));
    if (text.size() > kLargestConfig) {
      throw UserError(fmt::format("{}: it has more than {} KiB; is it the right file?", trouble,
                                  kLargestConfig / 1024));
    }
  }
  if (got < 0) throw UserError(with_errno(trouble));
  return text;
}

}  // namespace

kernel::Answer<std::vector<Address>> local_sources(const AddressPrefix& prefix) {
  // Every address of a small prefix is asked about; of a large one, those that interfaces carry
  // too.
  constexpr std::uint64_t kAsked = 256;
  std::vector<Address> found;
  std::string unknown;
  const auto add = [&](const Address& address) {
    if (found.size() == kLanesPerEntry ||
        std::find(found.begin(), found.end(), address) != found.end()) {
      return;
    }
    const auto local = kernel::is_local_address(address);
    if (!local.is_known()) unknown = local.why();
    if (local == true) found.push_back(address);
  };
  ifaddrs* interfaces = nullptr;
  if (prefix.size(kAsked + 1) > kAsked && getifaddrs(&interfaces) == 0) {
    for (const ifaddrs* i = interfaces; i != nullptr; i = i->ifa_next) {
      Endpoint own;
      if (i->ifa_addr != nullptr &&
          endpoint_from_sockaddr(i->ifa_addr, sizeof(sockaddr_in6), own) &&
          prefix.contains(own.address)) {
        add(own.address);
      }
    }
    freeifaddrs(interfaces);
  }
  for (std::uint64_t i = 0; i < prefix.size(kAsked); ++i) add(prefix.at(i));
  using Sources = kernel::Answer<std::vector<Address>>;
  if (!unknown.empty()) return Sources::unknown(unknown);
  return found.empty() ? Sources::absent() : Sources(found);
}

namespace {

SourceProblem absent_source(const std::string& text, const AddressPrefix& prefix) {
  using kernel::LocalAddresses;
  using Kind = SourceProblem::Kind;
  const LocalAddresses own = kernel::local_addresses().value().value_or(LocalAddresses{});
  for (const auto& [address, why] : own.pending()) {
    if (!prefix.contains(address)) continue;
    if (why == LocalAddresses::Pending::tentative) {
      return {fmt::format("source {} is still tentative (duplicate address detection)", text),
              Kind::coming};
    }
    return {fmt::format("source {} is another host's as well (dadfailed, says ip addr); take it "
                        "away there, and add it here anew",
                        text),
            Kind::absent};
  }
  // It came between the two questions.
  for (const Address& address : own.all()) {
    if (prefix.contains(address))
      return {fmt::format("source {} comes just now", text), Kind::coming};
  }
  return {fmt::format(
              "source {0} does not belong to this host; add it with: ip addr add {0} dev INTERFACE",
              text),
          Kind::absent};
}

}  // namespace

std::optional<SourceProblem> add_source(PoolRule& rule, const std::string& text) {
  const auto prefix = parse_prefix(text);
  if (!prefix) {
    return SourceProblem{fmt::format("\"{}\" is not one of the {}", text, kSourceForm)};
  }
  const auto found = local_sources(*prefix);
  if (!found.is_known()) {
    return SourceProblem{
        fmt::format("whether source {} belongs to this host is not known: {}", text, found.why())};
  }
  rule.source_entries.push_back(*prefix);
  if (found.is_absent()) return absent_source(text, *prefix);
  for (const Address& address : *found) {
    if (std::find(rule.sources.begin(), rule.sources.end(), address) == rule.sources.end()) {
      rule.sources.push_back(address);
    }
  }
  if (rule.sources.size() <= kLanesPerEntry) return std::nullopt;
  return SourceProblem{fmt::format("a pool can have at most {} sources", kLanesPerEntry)};
}

Config default_config() {
  Config config;
  config.pools.push_back(PoolRule{});
  return config;
}

Config parse_config(std::string_view text, const std::string& name, AbsentSources absent) {
  const Reader reader(name);
  try {
    Config config = reader.config(toml::parse(text, std::string_view(name)), absent);
    config.hash = hash_of(text);
    return config;
  } catch (const toml::parse_error& error) {
    reader.fail(error.source().begin, std::string(error.description()));
  }
}

Config load_config(const std::string& path, AbsentSources absent) {
  return parse_config(content_of(path), path, absent);
}

}  // namespace portpool
