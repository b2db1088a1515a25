// A running daemon in mode ab, for as long as this object lives.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "base/descriptor.h"

namespace portpool {

class ComparisonClient {
 public:
  // Throws UserError when the daemon does not answer or does not agree.
  ComparisonClient(const std::string& socket, std::chrono::milliseconds block, std::uint64_t seed);

  // Readable when the daemon has ended the comparison (it says nothing more): it is gone.
  int fd() const { return connection_.get(); }

 private:
  Descriptor connection_;
};

}  // namespace portpool
