// The variables by which library and program are told something, each once: for the manual pages,
// and for the test that holds README.md and docs/configuration.md to them. (Those of a service
// manager are its own: daemon/service_manager.h.)
#pragma once

#include <array>
#include <string_view>

namespace portpool {

struct Variable {
  std::string_view name;
  std::string_view reader;
  std::string_view meaning;  // in sentences
};

inline constexpr std::array kVariables = {
    Variable{"LD_PRELOAD", "the dynamic linker",
             "The path of libportpool.so. poold run puts it in front of what stands there."},
    Variable{"PORTPOOL_SOCKET", "library, poold",
             "The daemon's socket; /run/portpool/poold.sock where it is not set or empty. At most "
             "107 bytes."},
    Variable{
        "PORTPOOL_MODE", "library",
        "pool, or nothing: ports by the pool. observe: record latency, change nothing. off: do "
        "nothing at all. Any other value is off, too."},
    Variable{"PORTPOOL_VERBOSE", "library",
             "1: one line on standard error at each attempt to attach, whether it worked and if "
             "not, why. Else the library is silent."},
    Variable{"PORTPOOL_LIBRARY", "poold run, poold enable",
             "The path of libportpool.so, where it is in neither of the usual places."},
    Variable{"XDG_RUNTIME_DIR", "poold run",
             "Where the folder for the socket of a daemon of its own is made; else /tmp."},
};

}  // namespace portpool
