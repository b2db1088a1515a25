// What the tests of failing system calls have the kernel refuse, and how.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace portpool::test {

// A call whose arguments have these values (the lower 32 bits; pointers cannot be looked behind)
// fails with `error`, and does nothing.
struct Refusal {
  struct Argument {
    unsigned index;
    std::uint32_t value;
  };
  std::string name;  // "setsockopt IP_LOCAL_PORT_RANGE: EPERM"
  long number = 0;
  int error = 0;
  std::vector<Argument> arguments;  // none: each such call
};

// The system calls, in the order of the table in refusal.cpp.
std::vector<std::string> refused_calls();
// Each error of each kind of that call.
std::vector<Refusal> refusals_of(const std::string& call);

// From now on, for this process and its children, for good (seccomp(2), SECCOMP_RET_ERRNO).
enum class Sight {
  seen,    // by prctl(), which the library knows to be a filter
  unseen,  // by a raw system call
};
void refuse(const Refusal& refusal, Sight sight);

}  // namespace portpool::test
