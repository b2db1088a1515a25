// On what a measurement was made: kernel, settings, configuration.
#pragma once

#include <string>
#include <vector>

#include "compare/trial.h"

namespace portpool {

// `report`: of the daemon that took part. The settings are those of this network namespace.
Entries describe_environment(const Report& report);

// As a shell would want it.
std::string command_line(const std::vector<std::string>& words);
// This process's own.
std::string own_command_line();

}  // namespace portpool
