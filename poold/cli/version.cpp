#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/json_text.h"
#include "cli/commands.h"
#include "kernel/features.h"
#include "portpool/hints.h"

namespace portpool {
namespace {

std::string layout_version() { return fmt::format("{}.{}", kLayoutMajor, kLayoutMinor); }

void print_json(const kernel::KernelFeatures& features) {
  const nlohmann::ordered_json root = {
      {"schema", 1},
      {"version", PORTPOOL_VERSION},
      {"layout", layout_version()},
      {"kernel",
       {{"release", features.release},
        {"IP_LOCAL_PORT_RANGE", features.local_port_range},
        {"IP_BIND_ADDRESS_NO_PORT", features.bind_address_no_port},
        {"SO_NETNS_COOKIE", features.netns_cookie},
        {"MPTCP", features.mptcp},
        {"bound_inactive_listing", features.bound_inactive_listing}}}};
  fmt::print("{}\n", json_text(root));
}

std::string text_of(const kernel::KernelFeatures& features) {
  const auto line = [](const char* name, bool present, const char* meaning) {
    return fmt::format("  {:<26}{:<5}{}\n", name, present ? "yes" : "no", meaning);
  };
  return fmt::format("portpool {}\nsegment layout {}\nkernel {}\n", PORTPOOL_VERSION,
                     layout_version(), features.release) +
         line("IP_LOCAL_PORT_RANGE", features.local_port_range,
              "a port can be pinned (Linux 6.3)") +
         line("IP_BIND_ADDRESS_NO_PORT", features.bind_address_no_port,
              "binds can be deferred (4.2)") +
         line("SO_NETNS_COOKIE", features.netns_cookie,
              "network namespaces told apart cheaply (5.14)") +
         line("MPTCP", features.mptcp, "MPTCP sockets can be made (5.6)") +
         line("bound sockets listed", features.bound_inactive_listing,
              "bound, unconnected sockets seen (6.8)");
}

}  // namespace

std::string version_text() { return text_of(kernel::probe_features()); }

int version_command(const VersionOptions& options) {
  if (options.json) {
    print_json(kernel::probe_features());
  } else {
    fmt::print("{}", version_text());
  }
  return 0;
}

}  // namespace portpool
