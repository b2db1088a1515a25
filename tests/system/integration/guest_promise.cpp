// What libportpool.so promises to the processes that it is loaded into.
#include <algorithm>
#include <filesystem>
#include <regex>
#include <set>
#include <sstream>

#include "support/temp_dir.h"
#include "system/integration/common.h"

namespace portpool::test {
namespace {

std::string output_of(const std::vector<std::string>& command) {
  Process process(command);
  EXPECT_EQ(process.wait(), 0) << process.err();
  return process.out();
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

// Names from `nm`, whose last word on each line may carry a version after '@'.
std::set<std::string> symbols(const std::vector<std::string>& options, const std::string& file) {
  std::vector<std::string> command{"nm", "--dynamic", "--no-sort"};
  command.insert(command.end(), options.begin(), options.end());
  command.push_back(file);
  std::set<std::string> names;
  for (const std::string& line : lines_of(output_of(command))) {
    const std::string name = line.substr(line.rfind(' ') + 1);
    names.insert(name.substr(0, name.find('@')));
  }
  return names;
}

// The library for programs of 32 bits, which is not built everywhere.
std::string shim_of_32_bits() {
  return std::filesystem::path(shim_path()).parent_path().parent_path() / "lib32/libportpool.so";
}

// Runs `judge` with each library that was built.
template <class Judge>
void for_each_library(Judge judge) {
  for (const std::string& library : {shim_path(), shim_of_32_bits()}) {
    SCOPED_TRACE(library);
    if (std::filesystem::exists(library)) judge(library);
  }
}

TEST(GuestPromise, NeedsTheCLibraryAndNothingElse) {
  const std::regex pattern("\\(NEEDED\\).*\\[(.*)\\]");
  for_each_library([&](const std::string& library) {
    std::vector<std::string> needed;
    for (const std::string& line :
         lines_of(output_of({"readelf", "--dynamic", "--wide", library}))) {
      std::smatch match;
      if (std::regex_search(line, match, pattern)) needed.push_back(match[1]);
    }
    EXPECT_EQ(needed, std::vector<std::string>{"libc.so.6"});
  });
}

TEST(GuestPromise, ExportsWhatItInterposesAndNothingElse) {
  std::set<std::string> listed;
  const std::string map = read_whole_file(PORTPOOL_EXPORTS_MAP);
  const std::string global =
      map.substr(map.find("global:"), map.find("local:") - map.find("global:"));
  const std::regex name("([A-Za-z_0-9]+);");
  for (std::sregex_iterator it(global.begin(), global.end(), name), end; it != end; ++it) {
    listed.insert((*it)[1]);
  }
  EXPECT_TRUE(listed.contains("connect") && listed.contains("bind") && listed.contains("close"));
  for_each_library(
      [&](const std::string& library) { EXPECT_EQ(symbols({"--defined-only"}, library), listed); });
}

TEST(GuestPromise, MakesItsSystemCallsItself) {
#if !defined(__x86_64__) && !defined(__aarch64__)
  GTEST_SKIP() << "by libc's syscall() on this architecture";
#endif
  if (is_sanitized()) GTEST_SKIP() << "the sanitizer puts calls of its own in";
  for_each_library([](const std::string& library) {
    const std::set<std::string> needed = symbols({"--undefined-only"}, library);
    EXPECT_TRUE(needed.contains("dlsym"));
    for (const char* call : {"syscall", "getsockopt", "setsockopt", "mmap", "mremap", "munmap",
                             "madvise", "prctl", "getpid", "nanosleep", "write"}) {
      EXPECT_FALSE(needed.contains(call)) << call;
    }
  });
}

TEST(GuestPromise, NoMemoryIsWritableAndExecutable) {
  int segments = 0;
  bool stack_seen = false;
  for (const std::string& line :
       lines_of(output_of({"readelf", "--program-headers", "--wide", shim_path()}))) {
    std::istringstream words(line);
    std::string type;
    words >> type;
    if (type != "LOAD" && type != "GNU_STACK") continue;
    ++segments;
    stack_seen = stack_seen || type == "GNU_STACK";
    // Offset, addresses and sizes stand in hexadecimal; the flags are the rest but the alignment.
    const std::string tail = line.substr(line.rfind("0x", line.rfind("0x") - 1));
    EXPECT_FALSE(tail.find('W') != std::string::npos && tail.find('E') != std::string::npos)
        << line;
  }
  EXPECT_GE(segments, 3);
  EXPECT_TRUE(stack_seen);
  EXPECT_EQ(output_of({"readelf", "--dynamic", "--wide", shim_path()}).find("TEXTREL"),
            std::string::npos);
}

const char* const kMuslLibrary = "/usr/lib/x86_64-linux-musl/libc.so";

TEST(GuestPromise, EverySymbolThatItNeedsIsInMuslToo) {
  if (!std::filesystem::exists(kMuslLibrary)) GTEST_SKIP() << "no musl here";
  const std::set<std::string> needed = symbols({"--undefined-only"}, shim_path());
  const std::set<std::string> offered = symbols({"--defined-only"}, kMuslLibrary);
  // Weak references, most of them of the compiler's start-up code; absent, they are not called.
  const std::set<std::string> optional{"__gmon_start__", "_ITM_deregisterTMCloneTable",
                                       "_ITM_registerTMCloneTable", "__cxa_finalize",
                                       // glibc's pthread_atfork(); musl's is asked for by name.
                                       "__register_atfork"};
  EXPECT_FALSE(needed.empty());
  for (const std::string& symbol : needed) {
    EXPECT_TRUE(offered.contains(symbol) || optional.contains(symbol)) << symbol;
  }
}

// Programs in C, of other kinds than the tests themselves.
struct PlainClients : PooledNet {
  TempDir directory;

  // Compiled by `command`, to which "-o FILE SOURCE" is added.
  std::string compiled(std::vector<std::string> command) const {
    const std::string program = directory.file("client");
    command.insert(command.end(), {"-o", program, PORTPOOL_PLAIN_CLIENT});
    output_of(command);
    return program;
  }
  std::string start_of(const std::string& program) const {
    return output_of({"readelf", "--file-header", "--program-headers", "--wide", program});
  }
  // Connects 50 times, with `library` preloaded, without a word of the dynamic linker's.
  void expect_pool(const std::string& program, const std::string& library);
};

void PlainClients::expect_pool(const std::string& program, const std::string& library) {
  const auto attaches = [](const nlohmann::json& status) {
    return status.at("clients").at("attached_total").get<int>();
  };
  nlohmann::json before;
  nlohmann::json after;
  // On a busy machine the 50 ms for attaching may pass: another attempt.
  EXPECT_TRUE(eventually([&] {
    before = poold.status();
    Process client({program, "127.0.0.1", "9001", "50"},
                   {"LD_PRELOAD=" + library, "PORTPOOL_SOCKET=" + poold.socket()});
    EXPECT_EQ(client.wait(), 0) << client.err();
    EXPECT_EQ(client.err(), "");
    after = poold.status();
    return attaches(after) > attaches(before);
  }));
  EXPECT_EQ(pool_connects(after) - pool_connects(before), 50U);
}

TEST_F(PlainClients, OfMuslUseThePool) {
  if (!std::filesystem::exists(kMuslLibrary)) GTEST_SKIP() << "no musl here";
  const std::string program = compiled({"musl-gcc", "-O1", "-Wall"});
  ASSERT_NE(start_of(program).find("ld-musl"), std::string::npos);
  expect_pool(program, shim_path());
}

// One LD_PRELOAD for programs of either kind; both find the same lane.
TEST_F(PlainClients, Of32BitsUseThePoolBeside64) {
  if (!std::filesystem::exists(shim_of_32_bits())) GTEST_SKIP() << "no library of 32 bits here";
  const std::string both =
      std::filesystem::path(shim_path()).parent_path().parent_path() / "$LIB/libportpool.so";
  const std::string of_64 = compiled({"gcc", "-O1", "-Wall"});
  expect_pool(of_64, both);
  const std::string of_32 = compiled({"gcc", "-m32", "-O1", "-Wall"});
  ASSERT_NE(start_of(of_32).find("ELF32"), std::string::npos);
  expect_pool(of_32, both);
}

// A user's own race detector has nothing to say of the library, with the file that goes with it.
TEST_F(PlainClients, RaceDetectorsAreQuiet) {
  if (!std::filesystem::exists("/usr/bin/valgrind")) GTEST_SKIP() << "no valgrind here";
  const std::string program = compiled({"gcc", "-g", "-O1", "-Wall", "-pthread"});
  constexpr int kFound = 99;
  const auto found_by = [&](const std::string& tool, const std::vector<std::string>& options) {
    std::vector<std::string> command{"valgrind", "--tool=" + tool, "--error-exitcode=99"};
    command.insert(command.end(), options.begin(), options.end());
    command.insert(command.end(), {program, "127.0.0.1", "9001", "20", "4"});
    Process client(command, {"LD_PRELOAD=" + shim_path(), "PORTPOOL_SOCKET=" + poold.socket()});
    return client.wait();
  };
  for (const char* tool : {"helgrind", "drd"}) {
    SCOPED_TRACE(tool);
    EXPECT_EQ(found_by(tool, {}), kFound) << "then the file is of no use";
    EXPECT_EQ(found_by(tool, {"--suppressions=" PORTPOOL_SUPPRESSIONS}), 0);
  }
}

}  // namespace
}  // namespace portpool::test
