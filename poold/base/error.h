// An error that the user can mend: its text says what is wrong and what to do. main() prints it and
// exits with status 2.
#pragma once

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>

namespace portpool {

class UserError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// `what`: the reason that errno gives. For use right after the failed call.
inline std::string with_errno(const std::string& what) {
  return what + ": " + std::strerror(errno);
}

}  // namespace portpool
