#include "support/guest.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <exception>
#include <map>
#include <ostream>
#include <thread>

#include "support/sockets.h"
#include "support/temp_dir.h"

namespace portpool::test {
namespace {

constexpr std::string_view kOption = "--guest=";

using Function = void (*)(const Arguments&);

std::map<std::string, Function>& registry() {
  static std::map<std::string, Function> guests;
  return guests;
}

bool is_attached() {
  // The name of poold's memfd, as proc(5) shows it.
  return read_whole_file("/proc/self/maps").find("/memfd:portpool") != std::string::npos;
}

// Starts this guest anew, and with it the shim's attempt, until the segment is there.
void begin_attached(char** argv) {
  constexpr int kAttempts = 200;
  const char* attempt = getenv("PORTPOOL_TEST_BEGIN_ATTACHED");
  if (attempt == nullptr || is_attached() || atoi(attempt) >= kAttempts) return;
  // For two seconds at least: where the daemon let somebody wait in vain, nobody tries for one.
  std::this_thread::sleep_for(std::chrono::milliseconds(10));
  setenv("PORTPOOL_TEST_BEGIN_ATTACHED", std::to_string(atoi(attempt) + 1).c_str(), 1);
  execv("/proc/self/exe", argv);
}

std::string tried(const char* variable, const char* of_this_build) {
  const char* other = getenv(variable);
  return other != nullptr ? other : of_this_build;
}

std::string sanitizer_path() { return tried("PORTPOOL_TEST_SANITIZER", SANITIZER_OF_THIS_BUILD); }

int call(const std::string& name, const Arguments& arguments) {
  const auto found = registry().find(name);
  if (found == registry().end()) {
    std::fprintf(stderr, "no guest is called %s\n", name.c_str());
    return 2;
  }
  try {
    found->second(arguments);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "guest %s: %s\n", name.c_str(), error.what());
    return 1;
  }
  return 0;
}

}  // namespace

GuestRegistration::GuestRegistration(const char* name, Function function) {
  registry()[name] = function;
}

void check_failed(const char* file, int line, const char* condition) {
  const int error = errno;
  std::fprintf(stderr, "%s:%d: not true: %s (errno: %s)\n", file, line, condition,
               error_name(error).c_str());
  std::fflush(nullptr);
  _Exit(1);
}

void say(const std::string& line) {
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

std::string await_line() {
  std::string line;
  for (;;) {
    const int c = std::getchar();
    if (c == EOF) _Exit(3);
    if (c == '\n') return line;
    line.push_back(static_cast<char>(c));
  }
}

Under shim_at(const std::string& socket, const std::vector<std::string>& more) {
  Under under{true, {"PORTPOOL_SOCKET=" + socket}};
  under.environment.insert(under.environment.end(), more.begin(), more.end());
  return under;
}

std::vector<std::string> preload_environment(const std::string& library) {
  const std::string sanitizer = sanitizer_path();
  const std::string preload = sanitizer.empty() ? library : sanitizer + ":" + library;
  // The leak check would look through threads that the shim has nothing to do with.
  return {"LD_PRELOAD=" + preload, "ASAN_OPTIONS=detect_leaks=0"};
}

void PrintTo(const GuestResult& result, std::ostream* stream) {
  *stream << "status " << result.status << "\nstdout: " << result.out << "\nstderr: " << result.err;
}

std::vector<std::string> guest_command(const std::string& name, const Arguments& arguments) {
  std::vector<std::string> command{"/proc/self/exe", std::string(kOption) + name};
  char program[4096] = "";
  if (realpath("/proc/self/exe", program) != nullptr) command[0] = program;
  command.insert(command.end(), arguments.begin(), arguments.end());
  return command;
}

void become_guest(const std::string& name, const Arguments& arguments) {
  std::vector<std::string> command = guest_command(name, arguments);
  std::vector<char*> argv;
  for (std::string& word : command) argv.push_back(word.data());
  argv.push_back(nullptr);
  execv(argv[0], argv.data());
  check_failed(__FILE__, __LINE__, "execv() returned");
}

Process start_guest(const std::string& name, const Under& under, const Arguments& arguments) {
  std::vector<std::string> environment;
  if (under.shim) environment = preload_environment();
  environment.insert(environment.end(), under.environment.begin(), under.environment.end());
  return Process(guest_command(name, arguments), environment);
}

GuestResult run_guest(const std::string& name, const Under& under, const Arguments& arguments) {
  Process process = start_guest(name, under, arguments);
  const int status = process.wait();
  return {status, process.out(), process.err()};
}

bool is_guest_call(int argc, char** argv, int& status) {
  if (argc < 2 || !std::string_view(argv[1]).starts_with(kOption)) return false;
  begin_attached(argv);
  const std::string name(std::string_view(argv[1]).substr(kOption.size()));
  status = call(name, Arguments(argv + 2, argv + argc));
  return true;
}

std::string poold_path() { return tried("PORTPOOL_TEST_POOLD", POOLD_OF_THIS_BUILD); }
std::string shim_path() { return tried("PORTPOOL_TEST_SHIM", SHIM_OF_THIS_BUILD); }
bool is_sanitized() { return !sanitizer_path().empty(); }

}  // namespace portpool::test
