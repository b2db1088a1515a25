// What a service's own restrictions (systemd.exec(5)) keep the library from, and which of it a
// drop-in can give back.
#pragma once

#include <string>
#include <vector>

#include "cli/unit_file.h"

namespace portpool {

// Those of `paths` that the service does not see, and does once they are mounted into its file
// system (BindReadOnlyPaths=).
std::vector<std::string> hidden_from(const UnitFile& unit, const std::vector<std::string>& paths);

// Which setting gives the service a network namespace of its own, or "".
std::string own_network(const UnitFile& unit);

// What stays in the way of the library and of the socket, in sentences.
std::vector<std::string> obstacles(const UnitFile& unit, const std::vector<std::string>& paths);

}  // namespace portpool
