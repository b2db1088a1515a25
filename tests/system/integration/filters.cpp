// Programs that put themselves under a seccomp filter which ends them at whatever they do not do
// themselves (filtered_program.cpp), natively and under the shim, while the daemon comes and goes.
#include <signal.h>
#include <sys/syscall.h>

#include <chrono>
#include <functional>
#include <thread>

#include "support/temp_dir.h"
#include "system/integration/common.h"

namespace portpool::test {
namespace {

class FilteredProgram : public PooledNet {
 protected:
  static std::vector<std::string> environment(const Under& under) {
    std::vector<std::string> result;
    if (under.shim) result = preload_environment();
    result.insert(result.end(), under.environment.begin(), under.environment.end());
    return result;
  }

  // The program's `round`th word that it is ready: it has made so many more connections.
  void expect_ready(Process& program, int round) {
    std::string words;
    for (int i = 0; i < round; ++i) words += "ready\n";
    program.wait_for_output(words);
  }

  // Starts it, has it go on `disturbances.size()` times with one of them before each, and expects
  // it to end well.
  void expect_well(const Under& under, const std::vector<std::string>& words,
                   const std::vector<std::function<void()>>& disturbances) {
    std::vector<std::string> command{PORTPOOL_FILTERED_PROGRAM};
    command.insert(command.end(), words.begin(), words.end());
    Process program(command, environment(under));
    try {
      int round = 0;
      expect_ready(program, ++round);
      for (const auto& disturb : disturbances) {
        disturb();
        program.send_line("");
        expect_ready(program, ++round);
      }
      program.send_line("x");
    } catch (const std::exception& error) {
      ADD_FAILURE() << error.what();
    }
    EXPECT_EQ(program.wait(), 0) << "128 + 31 is SIGSYS; others are lines of the program";
    EXPECT_EQ(program.err(), "");
  }

  // Until a program that notices would try to attach again.
  static void wait_for_a_turn() { std::this_thread::sleep_for(std::chrono::milliseconds(1100)); }

  std::vector<std::function<void()>> troubles() {
    return {[] {},
            [this] {
              poold.restart();
              wait_for_a_turn();
            },
            [this] {
              poold.kill();
              wait_for_a_turn();
            },
            [this] {
              poold.restart();
              wait_for_a_turn();
            }};
  }
};

class Filters : public FilteredProgram, public testing::WithParamInterface<const char*> {};

TEST_P(Filters, InstalledAfterTheStart) {
  const std::vector<std::string> words{GetParam(), "9001"};
  expect_well(native(), words, {[] {}});
  expect_well(poold.shim(), words, troubles());
}

TEST_P(Filters, AndNoDaemonAtFirst) {
  const std::vector<std::string> words{GetParam(), "9001"};
  const std::string socket = poold.socket();
  poold.kill();
  expect_well(shim_at(socket), words, {wait_for_a_turn, [this] {
                                         poold.restart();
                                         wait_for_a_turn();
                                       }});
}

TEST_P(Filters, AreCounted) {
  const nlohmann::json before = poold.status();
  expect_well(poold.shim(), {GetParam(), "9001"}, {[] {}, [] {}});
  const nlohmann::json after = poold.status();
  // `connected` was the pool's; `bound` had a port by then, which the library had made real.
  EXPECT_EQ(pool_connects(after) - pool_connects(before), 1U);
  EXPECT_EQ(fallbacks(after, "seccomp") - fallbacks(before, "seccomp"), 4U);
  EXPECT_EQ(after.at("results").at("ok").get<int>() - before.at("results").at("ok").get<int>(), 5);
}

// ---- a filter that was there before -------------------------------------------------------------

struct Call {
  const char* name;
  long number;
};
#define CALL(name) \
  { #name, SYS_##name }
// What docs/connect.md says that the library calls.
const Call kOwnCalls[] = {
    CALL(getrandom),      CALL(prctl),         CALL(getpid),      CALL(mmap),
    CALL(munmap),         CALL(mremap),        CALL(madvise),     CALL(newfstatat),
    CALL(fstat),          CALL(fstatfs),       CALL(socket),      CALL(connect),
    CALL(close),          CALL(ppoll),         CALL(recvmsg),     CALL(fcntl),
    CALL(getsockopt),     CALL(clock_gettime), CALL(utimensat),   CALL(setsockopt),
    CALL(getsockname),    CALL(bind),          CALL(futex),       CALL(sendto),
    CALL(recvfrom),       CALL(nanosleep),     CALL(sched_yield), CALL(shutdown),
    CALL(rt_sigprocmask),
};
#undef CALL

TEST_F(FilteredProgram, NeedsWhatThePageSaysWhereTheFilterWasThereBefore) {
  const std::string page = read_whole_file(PORTPOOL_CONNECT_PAGE);
  const std::string section = page.substr(page.find("\n## System calls of its own"));
  std::vector<std::string> words{"exec", "9001"};
  expect_well(native(), words, {[] {}});
  for (const Call& call : kOwnCalls) {
    EXPECT_NE(section.find("`" + std::string(call.name) + "`"), std::string::npos) << call.name;
    words.push_back(std::to_string(call.number));
  }
  const std::uint64_t before = pool_connects(poold.status());
  expect_well(poold.shim(), words, {[] {}});
  // All but `bound`, which has a port of its own.
  EXPECT_EQ(pool_connects(poold.status()) - before, 4U);
  expect_well(poold.shim(), words, troubles());
}

INSTANTIATE_TEST_SUITE_P(Ways, Filters,
                         testing::Values("prctl", "seccomp", "syscall_prctl", "thread"),
                         [](const auto& way) { return std::string(way.param); });

}  // namespace
}  // namespace portpool::test
