// One destination explained: who uses how many of its ports, in which states, and what comes next.
#pragma once

#include <string>
#include <vector>

#include "doctor/check.h"
#include "doctor/facts.h"

namespace portpool::doctor {

struct NamedDestination {
  std::string text;                 // as the user wrote it
  std::vector<Endpoint> endpoints;  // what it resolves to, each once
};

// "10.0.4.7:443", "[2001:db8::1]:443", "name:443". Throws UserError when it is malformed or the
// name is unknown.
NamedDestination resolve_destination(const std::string& text);

// One check for each source address that has connections there; one for each address of the
// destination that has none. Looks twice, a moment apart, to see where it is heading.
std::vector<Check> explain_destination(const NamedDestination& destination,
                                       const std::string& daemon_socket);

}  // namespace portpool::doctor
