// docs/troubleshooting.md, taken into the program when it is built.
#pragma once

#include <string_view>

namespace portpool {

extern const std::string_view kTroubleshootingPage;

}  // namespace portpool
