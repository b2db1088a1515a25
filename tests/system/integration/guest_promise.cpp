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

TEST(GuestPromise, NeedsTheCLibraryAndNothingElse) {
  std::vector<std::string> needed;
  const std::regex pattern("\\(NEEDED\\).*\\[(.*)\\]");
  for (const std::string& line :
       lines_of(output_of({"readelf", "--dynamic", "--wide", shim_path()}))) {
    std::smatch match;
    if (std::regex_search(line, match, pattern)) needed.push_back(match[1]);
  }
  EXPECT_EQ(needed, std::vector<std::string>{"libc.so.6"});
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
  EXPECT_EQ(symbols({"--defined-only"}, shim_path()), listed);
}

TEST(GuestPromise, MakesItsSystemCallsItself) {
#if !defined(__x86_64__) && !defined(__aarch64__)
  GTEST_SKIP() << "by libc's syscall() on this architecture";
#endif
#ifdef PORTPOOL_SANITIZED
  GTEST_SKIP() << "the sanitizer puts calls of its own in";
#endif
  const std::set<std::string> needed = symbols({"--undefined-only"}, shim_path());
  EXPECT_TRUE(needed.contains("dlsym"));
  for (const char* call : {"syscall", "getsockopt", "setsockopt", "mmap", "mremap", "munmap",
                           "madvise", "prctl", "getpid", "nanosleep", "write"}) {
    EXPECT_FALSE(needed.contains(call)) << call;
  }
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

TEST_F(PooledNet, MuslProgramsUseThePool) {
  if (!std::filesystem::exists(kMuslLibrary)) GTEST_SKIP() << "no musl here";
  const TempDir directory;
  const std::string program = directory.file("musl_client");
  Process compiler({"musl-gcc", "-O1", "-Wall", "-o", program, PORTPOOL_MUSL_CLIENT});
  ASSERT_EQ(compiler.wait(), 0) << compiler.err();
  ASSERT_NE(output_of({"readelf", "--program-headers", "--wide", program}).find("ld-musl"),
            std::string::npos);
  const auto attaches = [](const nlohmann::json& status) {
    return status.at("clients").at("attached_total").get<int>();
  };
  nlohmann::json before;
  nlohmann::json after;
  // On a busy machine the 50 ms for attaching may pass: another attempt.
  EXPECT_TRUE(eventually([&] {
    before = poold.status();
    Process client({program, "127.0.0.1", "9001", "50"},
                   {"LD_PRELOAD=" + shim_path(), "PORTPOOL_SOCKET=" + poold.socket()});
    EXPECT_EQ(client.wait(), 0) << client.err();
    EXPECT_EQ(client.err(), "");
    after = poold.status();
    return attaches(after) > attaches(before);
  }));
  EXPECT_EQ(pool_connects(after) - pool_connects(before), 50U);
}

}  // namespace
}  // namespace portpool::test
