// The keys of the configuration, each once: for what is said of an unknown one, for the manual page
// poold.toml(5), and for the test that holds docs/configuration.md to them.
#pragma once

#include <array>
#include <span>
#include <string_view>

namespace portpool {

struct ConfigKey {
  std::string_view name;
  std::string_view type;      // a word of TOML's
  std::string_view fallback;  // without the key: a value as it would stand in the file, or in words
  std::string_view meaning;   // in sentences
};

// Of the file itself.
inline constexpr std::array kConfigKeys = {
    ConfigKey{"mode", "string", "\"pool\"",
              "\"pool\"; \"observe\": programs record latency and stay on the kernel's path; "
              "\"ab\": pool and kernel in turn, in time blocks."},
    ConfigKey{"ab_block_ms", "integer", "2000",
              "The length of a time block in mode \"ab\": 20 to 3600000 milliseconds."},
    ConfigKey{"socket", "string", "\"/run/portpool/poold.sock\"",
              "Where programs attach, at most 107 bytes. --socket and PORTPOOL_SOCKET win over it. "
              "Takes effect at the next start."},
    ConfigKey{"socket_group", "string", "none",
              "A group that exists, whose members may attach, besides root and poold's own user. "
              "Takes effect at the next start."},
    ConfigKey{"strategy", "string", "\"auto\"",
              "How a socket gets its port. \"port-range\": IP_LOCAL_PORT_RANGE, Linux 6.3 or "
              "newer. \"bind\": bind(2), any kernel. \"auto\": the first where the kernel has it. "
              "Takes effect at the next start."},
    ConfigKey{"metrics_listen", "string", "\"\"",
              "\"ADDRESS:PORT\" or \"[ADDRESS]:PORT\" where Prometheus finds /metrics. \"\": "
              "nothing listens."},
    ConfigKey{"log_level", "string", "\"info\"",
              "What the log has: \"trace\", \"debug\", \"info\", \"warn\", \"error\", \"critical\" "
              "or \"off\". --log-level wins over it."},
    ConfigKey{"max_lanes", "integer", "1024",
              "How many pairs of source address and destination there is room for: 1 to 16384. "
              "Takes effect at the next start."},
    ConfigKey{"sources_optional", "boolean", "false",
              "true: a source that this host does not have at start is a warning instead of an "
              "error, and is used as soon as it comes."},
    ConfigKey{"expect", "table", "nobody",
              "[expect] names programs that should be attached and served; poold status, poold "
              "doctor and the metrics say which are not."},
    ConfigKey{"pool", "array of tables", "one that matches everything",
              "[[pool]] begins a rule; there may be 63 of them. The first that matches a "
              "destination applies; a last one, named \"default\", matches everything."},
};

// Of a [[pool]].
inline constexpr std::array kPoolKeys = {
    ConfigKey{"name", "string", "\"pool1\", \"pool2\", ...",
              "1 to 63 bytes; shown by poold status."},
    ConfigKey{"destinations", "list of strings", "every destination",
              "\"ADDRESS\" or \"ADDRESS/BITS\", each with \":PORT\" or without. IPv6 with a port "
              "needs brackets: \"[2001:db8::]/32:443\"."},
    ConfigKey{"exclude", "list of strings", "none",
              "As for destinations: these are left to the rules that follow."},
    ConfigKey{"pool", "string", "the pool",
              "\"none\": what the rule matches has no lane and takes the kernel's path. Keys about "
              "lanes are an error beside it."},
    ConfigKey{"sources", "list of strings", "the address that routing picks",
              "\"ADDRESS\" or \"ADDRESS/BITS\", at most 32 addresses in all, each this host's own. "
              "One that vanishes is left out, and used again when it is back. An address that the "
              "program bound itself wins."},
    ConfigKey{
        "source_policy", "string", "\"fill\"",
        "\"fill\": the first source until its ports are used, then the next. \"balance\": one "
        "at random, the others when it is full."},
    ConfigKey{"port_range", "string", "ip_local_port_range",
              "\"LOW-HIGH\". With the strategy \"port-range\" what lies outside of "
              "net.ipv4.ip_local_port_range is cut off; ports below 1024 are never given out."},
    ConfigKey{"on_exhaustion", "string", "\"kernel\"",
              "With no port left, \"kernel\": the kernel is asked, at the price of its search. "
              "\"fail-fast\": EADDRNOTAVAIL at once."},
    ConfigKey{"outside_range", "string", "\"kernel\"",
              "Calls that the pool cannot serve have, \"kernel\": any port of "
              "net.ipv4.ip_local_port_range; \"refuse\": one of port_range, which must be named, "
              "or EADDRNOTAVAIL."},
    ConfigKey{"early_bind", "string", "\"promise\"",
              "What a program gets that asks for its port between bind(ADDRESS, 0) and connect(). "
              "\"promise\": the number of a port that it will have unless that is in use toward "
              "the destination by then. \"real\": a port that no other destination can have."},
};

// Of [expect].
inline constexpr std::array kExpectKeys = {
    ConfigKey{"units", "list of strings", "none",
              "Units such as \"nginx.service\", and containers as poold status --clients shows "
              "them (\"docker-0123456789ab\")."},
    ConfigKey{"programs", "list of strings", "none",
              "Names of programs as ps -o comm shows them, at most 15 bytes."},
};

struct ConfigPart {
  std::span<const ConfigKey> keys;
  std::string_view place;  // where its keys belong
};

inline constexpr std::array kConfigParts = {
    ConfigPart{kConfigKeys, "before the first [[pool]] or [expect]"},
    ConfigPart{kPoolKeys, "under a [[pool]]"},
    ConfigPart{kExpectKeys, "under [expect]"},
};

}  // namespace portpool
