// How a setting that a fix proposes is kept over a reboot.
#pragma once

#include <string>
#include <string_view>

namespace portpool::doctor {

// For the `sysctl -w NAME=VALUE ...` in `fix`, the first there is: a command that writes the same
// to /etc/sysctl.d (sysctl.d(5)), for a root shell. Empty: there is none.
std::string persistent_form(std::string_view fix);

}  // namespace portpool::doctor
