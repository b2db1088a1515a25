// Guests: plain socket programs that a test runs with or without the shim.
//
//   GUEST(connect_once) {
//     const int fd = connected_socket(SocketAddress(arguments.at(0)));
//     CHECK_THAT(fd >= 0);
//     say("connected");
//   }
//
//   TEST(Connect, Works) {
//     ...
//     EXPECT_EQ(run_guest("connect_once", native(), {"127.0.0.1:9001"}),
//               run_guest("connect_once", poold.shim(), {"127.0.0.1:9001"}));
//   }
//
// A guest is a re-execution of the test program with --guest=NAME: a fresh process, where
// LD_PRELOAD works as in any other program. Every program that links portpool_test_support can run
// guests.
#pragma once

#include <string>
#include <vector>

#include "support/process.h"

namespace portpool::test {

// What is tried: of this build, unless PORTPOOL_TEST_POOLD, _SHIM and _SANITIZER name another's
// (the file tests/tried.env in its folder).
std::string poold_path();
std::string shim_path();
// The library comes behind a sanitizer's.
bool is_sanitized();

using Arguments = std::vector<std::string>;

struct GuestRegistration {
  GuestRegistration(const char* name, void (*function)(const Arguments&));
};

#define GUEST(name)                                                                        \
  static void guest_##name(const ::portpool::test::Arguments& arguments);                  \
  static const ::portpool::test::GuestRegistration registered_##name{#name, guest_##name}; \
  static void guest_##name([[maybe_unused]] const ::portpool::test::Arguments& arguments)

// In a guest: unless `condition` holds, says where and why (with errno) and ends it with status 1.
#define CHECK_THAT(condition)                                                         \
  do {                                                                                \
    if (!(condition)) ::portpool::test::check_failed(__FILE__, __LINE__, #condition); \
  } while (false)

[[noreturn]] void check_failed(const char* file, int line, const char* condition);

// In a guest: prints a line, which the test sees at once.
void say(const std::string& line);
// In a guest: waits for Process::send_line(). Ends the guest when the test is gone.
std::string await_line();

// Whether the guest runs under the shim, and with which environment besides.
struct Under {
  bool shim = false;
  std::vector<std::string> environment;  // NAME=value, see Process
};

inline Under native() { return {}; }
// Under the shim with the daemon's socket at `socket`; `more` is added to the environment.
Under shim_at(const std::string& socket, const std::vector<std::string>& more = {});

// Added to a guest's environment: it begins only when the shim has the daemon's segment. The shim
// gives up after 50 ms, which a busy machine may need; a test that counts what the pool did must
// not depend on that. For a daemon that is known to answer.
inline const std::string kBeginAttached = "PORTPOOL_TEST_BEGIN_ATTACHED=1";

// The variables that put a program under the shim, for Process. For sanitized builds they load the
// sanitizer first.
std::vector<std::string> preload_environment(const std::string& library = shim_path());

struct GuestResult {
  int status = 0;  // as of Process::wait()
  std::string out;
  std::string err;

  bool operator==(const GuestResult&) const = default;
};
// For GoogleTest's messages.
void PrintTo(const GuestResult& result, std::ostream* stream);

// The command line that runs a guest: for `poold run -- ...` and the like.
std::vector<std::string> guest_command(const std::string& name, const Arguments& arguments = {});

// Turns this process into a guest (execv): for guests that go on as another one, and after fork().
[[noreturn]] void become_guest(const std::string& name, const Arguments& arguments = {});

Process start_guest(const std::string& name, const Under& under, const Arguments& arguments = {});
GuestResult run_guest(const std::string& name, const Under& under, const Arguments& arguments = {});

// For main(): runs the guest that the command line names, if it names one; then `status` is its
// exit status.
bool is_guest_call(int argc, char** argv, int& status);

}  // namespace portpool::test
