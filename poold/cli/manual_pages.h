// The manual pages that are about no command, in the language of man(7). Keys, variables and
// reasons come from the tables that the programs themselves use.
#pragma once

#include <string>

namespace portpool {

std::string configuration_page();  // poold.toml(5)
std::string library_page();        // libportpool(7)

// Of the section ENVIRONMENT.
std::string environment_entries();

}  // namespace portpool
