// The command line as a user meets it: misspelt words, help, words in another order, a full disk.
#include <sys/wait.h>

#include <algorithm>
#include <fstream>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include "support/holder.h"
#include "support/temp_dir.h"
#include "system/integration/common.h"

namespace portpool::test {
namespace {

struct Said {
  int status;
  std::string out;
  std::string err;
};

Said poold_says(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), poold_path());
  Process command(arguments);
  const int status = command.wait();
  return {status, command.out(), command.err()};
}

const std::vector<std::string> kCommands{
    "serve",  "run",          "status", "check",   "top",     "trace",     "compare",
    "doctor", "check-config", "enable", "disable", "explain", "bugreport", "version"};

TEST(CommandLine, HelpFitsEightyColumns) {
  std::vector<std::vector<std::string>> calls{{"--help"}, {"help"}};
  for (const std::string& command : kCommands) {
    calls.push_back({command, "--help"});
    calls.push_back({"help", command});
  }
  for (const auto& call : calls) {
    const Said said = poold_says(call);
    SCOPED_TRACE(call.front() + " " + call.back());
    EXPECT_EQ(said.status, 0);
    EXPECT_EQ(said.err, "");
    EXPECT_NE(said.out.find("Usage: poold"), std::string::npos) << said.out;
    std::istringstream lines(said.out);
    for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 80U) << line;
  }
  EXPECT_EQ(poold_says({"help", "top"}).out, poold_says({"top", "--help"}).out);
}

TEST(CommandLine, HelpNamesEveryCommand) {
  const std::string help = poold_says({"--help"}).out;
  for (const std::string& command : kCommands) {
    EXPECT_NE(help.find("\n  " + command + " "), std::string::npos) << command;
  }
}

std::vector<std::string> options_in(const std::string& help) {
  std::vector<std::string> options;
  const std::regex pattern("\\n  (?:-[a-z],)?(--[a-z-]+)");
  for (std::sregex_iterator it(help.begin(), help.end(), pattern), end; it != end; ++it) {
    options.push_back((*it)[1]);
  }
  return options;
}

// What is installed beside the program says what --help says.
TEST(CommandLine, ManualAndCompletionsHaveEachCommandAndOption) {
  const std::string page = poold_says({"generate", "man"}).out;
  const std::string bash = poold_says({"generate", "bash"}).out;
  const std::string zsh = poold_says({"generate", "zsh"}).out;
  const std::string fish = poold_says({"generate", "fish"}).out;
  std::string list;
  for (const std::string& command : kCommands) {
    SCOPED_TRACE(command);
    list += command + "\n";
    const std::string escaped = std::regex_replace(command, std::regex("-"), "\\-");
    EXPECT_NE(page.find("\\fB" + escaped + "\\fR"), std::string::npos);
    const Said own = poold_says({"generate", "man", command});
    EXPECT_EQ(own.status, 0);
    EXPECT_NE(bash.find("    " + command + ") words="), std::string::npos);
    EXPECT_NE(zsh.find("    " + command + ")\n"), std::string::npos);
    const auto options = options_in(poold_says({command, "--help"}).out);
    EXPECT_GE(options.size(), 2U);
    for (const std::string& option : options) {
      const std::string name = std::regex_replace(option, std::regex("-"), "\\-");
      EXPECT_NE(own.out.find("\\fB" + name + "\\fR"), std::string::npos) << option;
      EXPECT_NE(bash.find(option), std::string::npos) << option;
      EXPECT_NE(zsh.find("'" + option + "["), std::string::npos) << option;
      EXPECT_NE(fish.find("__fish_seen_subcommand_from " + command + "'"), std::string::npos);
      EXPECT_NE(fish.find(" -l " + option.substr(2) + " "), std::string::npos) << option;
    }
  }
  std::string printed = poold_says({"generate", "commands"}).out;
  for (const std::string& command : kCommands) {
    EXPECT_NE(("\n" + printed).find("\n" + command + "\n"), std::string::npos) << command;
  }
  EXPECT_EQ(printed.size(), list.size());
  EXPECT_EQ(poold_says({"generate", "man", "nothing"}).status, 2);
  EXPECT_EQ(poold_says({"generate", "tcsh"}).status, 2);
}

// groff is where manual pages are read.
TEST(CommandLine, ManualPagesAreSetWithoutAWarning) {
  if (access("/usr/bin/groff", X_OK) != 0) GTEST_SKIP() << "there is no groff";
  std::vector<std::string> pages = kCommands;
  pages.insert(pages.end(), {"", "poold.toml", "libportpool"});
  for (const std::string& name : pages) {
    SCOPED_TRACE(name);
    std::vector<std::string> words{"generate", "man"};
    if (!name.empty()) words.push_back(name);
    const Said page = poold_says(words);
    EXPECT_EQ(page.status, 0) << page.err;
    const TempDir directory;
    Process groff(
        {"/usr/bin/groff", "-ww", "-man", "-Tutf8", "-z", directory.write("page", page.out)});
    EXPECT_EQ(groff.wait(), 0);
    EXPECT_EQ(groff.err(), "");
  }
}

TEST(CommandLine, BashCompletes) {
  const TempDir directory;
  const std::string file = directory.write("poold.bash", poold_says({"generate", "bash"}).out);
  const auto completions = [&](const std::string& words, int place) {
    Process bash({"bash", "-c",
                  "source " + file + "; COMP_WORDS=(" + words + "); COMP_CWORD=" +
                      std::to_string(place) + "; _poold; echo \"${COMPREPLY[*]}\""});
    EXPECT_EQ(bash.wait(), 0);
    EXPECT_EQ(bash.err(), "");
    return bash.out();
  };
  EXPECT_EQ(completions("poold stat", 1), "status\n");
  EXPECT_EQ(completions("poold run --mode ''", 3), "pool observe ab\n");
  EXPECT_EQ(completions("poold doctor --des", 2), "--destination\n");
}

// Where these shells are; each only reads what it is given.
TEST(CommandLine, OtherShellsTakeTheirCompletions) {
  const TempDir directory;
  for (const char* shell : {"zsh", "fish"}) {
    const std::string program = std::string("/usr/bin/") + shell;
    if (access(program.c_str(), X_OK) != 0) continue;
    const std::string file = directory.write(shell, poold_says({"generate", shell}).out);
    Process process({program, "-n", file});
    EXPECT_EQ(process.wait(), 0) << process.err();
    EXPECT_EQ(process.err(), "") << shell;
  }
}

TEST(CommandLine, MisspeltCommand) {
  EXPECT_EQ(poold_says({"statsu"}).err,
            "poold: no command is called \"statsu\"; did you mean \"status\"?\n");
  EXPECT_EQ(poold_says({"statsu"}).status, 2);
  EXPECT_EQ(poold_says({"help", "tpo"}).err,
            "poold: no command is called \"tpo\"; did you mean \"top\"?\n");
  EXPECT_EQ(poold_says({"frobnicate"}).err,
            "poold: no command is called \"frobnicate\"; \"poold --help\" lists them\n");
}

TEST(CommandLine, EveryErrorNamesTheProgramAndIsShort) {
  const std::vector<std::vector<std::string>> calls{
      {},
      {"status", "--nonsense"},
      {"compare", "--duration", "-1s"},
      {"compare", "--duration", "soon"},
      {"top", "--interval", "-1"},
      {"trace", "--destination", "nowhere"},
      {"run"},
      {"--socket"},
      {"check"},
      {"explain", "no_lan"},
      {"status", "--socket", "/nonexistent/s"},
      {"doctor", "--destination", "x"},
  };
  for (const auto& call : calls) {
    const Said said = poold_says(call);
    SCOPED_TRACE(call.empty() ? "" : call.front() + " " + call.back());
    EXPECT_EQ(said.status, 2) << said.out;
    EXPECT_TRUE(said.err.starts_with("poold: ")) << said.err;
    EXPECT_LE(said.err.size(), 320U) << said.err;
    EXPECT_EQ(std::count(said.err.begin(), said.err.end(), '\n'), 1) << said.err;
  }
}

TEST(CommandLine, SocketBeforeTheCommand) {
  const Said said = poold_says({"--socket", "/nonexistent/s", "status"});
  EXPECT_EQ(said.status, 2);
  EXPECT_NE(said.err.find("/nonexistent/s"), std::string::npos) << said.err;
}

TEST(CommandLine, Version) {
  const Said said = poold_says({"--version"});
  EXPECT_EQ(said.status, 0);
  EXPECT_TRUE(said.out.starts_with("poold ")) << said.out;
  EXPECT_NE(poold_says({"version"}).out.find(said.out.substr(6)), std::string::npos) << said.out;
}

TEST(CommandLine, Explain) {
  const Said said = poold_says({"explain", "lane_full"});
  EXPECT_EQ(said.status, 0);
  EXPECT_TRUE(said.out.starts_with("lane_full: no port of the lane was free\n")) << said.out;
  EXPECT_NE(said.out.find("fail-fast"), std::string::npos) << said.out;
  const nlohmann::json one =
      nlohmann::json::parse(poold_says({"explain", "lane_full", "--json"}).out);
  EXPECT_EQ(one.at("sentence"), "no port of the lane was free");
  EXPECT_FALSE(one.at("action").get<std::string>().empty());
  const nlohmann::json all = nlohmann::json::parse(poold_says({"explain", "--json"}).out);
  EXPECT_GT(all.at("explanations").size(), 15U);
}

TEST_F(PooledNet, BugreportHasWhatIsAskedFor) {
  const TempDir directory;
  const std::string file = directory.file("report.txt");
  const Said said = poold_says({"bugreport", "--socket", poold.socket(), "--output", file});
  EXPECT_EQ(said.status, 0) << said.err;
  EXPECT_EQ(said.out, "");
  EXPECT_NE(said.err.find(file), std::string::npos) << said.err;
  std::stringstream text;
  text << std::ifstream(file).rdbuf();
  for (const char* title :
       {"poold version", "poold status --json", "poold status --since 1h", "poold doctor --json",
        "/proc/net/netstat", "/proc/sys/net/ipv4/ip_local_port_range"}) {
    EXPECT_NE(text.str().find(std::string("\n==== ") + title + "\n"), std::string::npos) << title;
  }
  EXPECT_NE(text.str().find("/proc/" + std::to_string(poold.process().pid()) + "/limits"),
            std::string::npos);
  EXPECT_EQ(text.str().find('\033'), std::string::npos);
}

TEST_F(EchoNet, BugreportWithoutADaemonAndWithoutAddresses) {
  net.add_address("10.99.3.7/24");
  const Holder holder(SocketAddress("10.99.3.7:9001"), 3);
  const Said open = poold_says({"bugreport", "--socket", "/nonexistent/s"});
  EXPECT_EQ(open.status, 0) << open.err;
  EXPECT_NE(open.out.find("(not available: no poold is running"), std::string::npos) << open.out;
  EXPECT_NE(open.out.find("10.99.3.7"), std::string::npos) << open.out;
  const Said hidden = poold_says({"bugreport", "--socket", "/nonexistent/s", "--hide-addresses"});
  EXPECT_EQ(hidden.out.find("10.99.3.7"), std::string::npos) << hidden.out;
  EXPECT_NE(hidden.out.find("address-1"), std::string::npos) << hidden.out;
}

// A disk that is full: what could not be written is no success. Each way to print, and each option
// that names a file.
TEST_F(PooledNet, OutputThatCannotBeWritten) {
  const std::string socket = poold.socket();
  const std::vector<std::string> compare{"compare", "--block",  "20ms", "--duration",
                                         "240ms",   "--socket", socket};
  const auto comparing = [&](const std::vector<std::string>& more) {
    std::vector<std::string> all = compare;
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  std::vector<std::vector<std::string>> printing{
      {"status", "--socket", socket},
      {"status", "--json", "--socket", socket},
      {"status", "--hgrm", "--socket", socket},
      {"status", "--watch", "--socket", socket},
      {"top", "--once", "--socket", socket},
      {"trace", "--count", "--duration", "0.2", "--socket", socket},
      {"version"},
      {"version", "--json"},
      {"--version"},
      {"check", "/bin/true"},
      {"check", "--json", "/bin/true"},
      {"doctor"},
      {"doctor", "--json"},
      {"doctor", "--watch"},
      {"--help"},
      {"explain"},
      {"explain", "--json"},
      {"explain", "lane_full"},
      {"bugreport", "--socket", socket},
      comparing({}),
      comparing({"--json"}),
      comparing({"--markdown"}),
      comparing({"--csv"}),
  };
  for (const std::string& command : kCommands) printing.push_back({command, "--help"});
  const std::string full = "/dev/full";
  const std::vector<std::vector<std::string>> to_file{
      comparing({"--json", full}),
      comparing({"--markdown", full}),
      comparing({"--csv", full}),
      comparing({"--report", full}),
      {"bugreport", "--output", full, "--socket", socket},
      {"run", "--json", full, "--socket", socket, "--", "true"},
      {"run", "--report", full, "--socket", socket, "--", "true"},
  };
  const auto expect_failure = [](const std::vector<std::string>& call, const std::string& where) {
    std::vector<std::string> command{"sh", "-c", "exec \"$@\" " + where, "sh", poold_path()};
    command.insert(command.end(), call.begin(), call.end());
    Process process(command);
    std::string words;
    for (const std::string& word : call) words += word + " ";
    SCOPED_TRACE(words);
    EXPECT_EQ(process.wait(), 2);
    EXPECT_NE(process.err().find("No space left on device"), std::string::npos) << process.err();
  };
  for (const auto& call : printing) expect_failure(call, ">" + full);
  for (const auto& call : to_file) expect_failure(call, "");
}

// What is no number, or none that makes sense, is named, with what is expected.
TEST(CommandLine, NumbersThatMakeNoSense) {
  struct NumericOption {
    std::vector<std::string> call;  // ends with the option
    std::string expected;
    std::vector<std::string> wrong;  // beside those that all refuse
  };
  const std::vector<NumericOption> options{
      {{"compare", "--block"}, "a time like 500ms", {"0", "-1s", "1 fortnight", "19ms", "61m"}},
      {{"compare", "--duration"},
       "a time like 500ms",
       {"0", "-1s", "1e300", "1 fortnight", "10ms"}},
      {{"compare", "--seed"}, "a whole number", {"1.5", "18446744073709551616"}},
      {{"status", "--lanes"}, "a whole number", {"1.5", "18446744073709551616"}},
      {{"status", "--watch"}, "seconds, from 0.1 to 86400", {"0", "1e300", "5s"}},
      {{"doctor", "--watch"}, "seconds, from 0.1 to 86400", {"0", "1e300", "5s"}},
      {{"top", "--interval"}, "seconds, from 0.1 to 86400", {"0", "1e300", "5s"}},
      {{"trace", "--min-us"}, "microseconds, from 0 to 1000000000", {"1e300", "5us"}},
      {{"trace", "--duration"}, "seconds, from 0.001 to 1000000000", {"0", "1e300", "5s"}},
      {{"trace", "--pid"}, "a process's number", {"0", "1.5", "4294967297", "1,x"}},
  };
  for (const NumericOption& option : options) {
    std::vector<std::string> values{
        "-1", "-1e300", "nan", "inf", "1e400", "x", "1x", "0x10", "99999999999999999999999999"};
    values.insert(values.end(), option.wrong.begin(), option.wrong.end());
    // An empty one leaves --watch its default.
    if (option.call.back() != "--watch") values.emplace_back("");
    for (const std::string& value : values) {
      std::vector<std::string> call = option.call;
      call.insert(call.end(), {value, "--socket", "/nonexistent/s"});
      const Said said = poold_says(call);
      SCOPED_TRACE(option.call[0] + " " + option.call[1] + " '" + value + "'");
      EXPECT_EQ(said.status, 2);
      EXPECT_EQ(said.out, "");
      EXPECT_NE(said.err.find("expected " + option.expected), std::string::npos) << said.err;
      EXPECT_NE(said.err.find(option.call[1]), std::string::npos) << said.err;
      EXPECT_LE(said.err.size(), 200U) << said.err;
      EXPECT_EQ(std::count(said.err.begin(), said.err.end(), '\n'), 1) << said.err;
    }
  }
}

// Right ones come as far as the daemon, which is not there.
TEST(CommandLine, NumbersThatAreRight) {
  const std::vector<std::vector<std::string>> calls{
      {"compare", "--block", "500ms", "--duration", "1m", "--seed", "18446744073709551615"},
      {"compare", "--block", "0.5 s", "--duration", "0.1h", "--seed", "0"},
      {"compare", "--block", "20ms", "--duration", "240ms"},
      {"status", "--lanes", "0"},
      {"status", "--watch", "0.1"},
      {"top", "--interval", "86400"},
      {"trace", "--min-us", "1e3", "--duration", "0.001", "-p", "1,2", "--pid", "3"},
  };
  for (std::vector<std::string> call : calls) {
    call.insert(call.end(), {"--socket", "/nonexistent/s"});
    const Said said = poold_says(call);
    EXPECT_EQ(said.status, 2);
    EXPECT_NE(said.err.find("no poold is running on /nonexistent/s"), std::string::npos)
        << said.err;
  }
}

TEST(CommandLine, SocketPathThatIsNoSocket) {
  const TempDir directory;
  const std::string file = directory.write("file", "text");
  for (const char* command : {"status", "top", "trace", "compare"}) {
    const auto said_of = [&](const std::string& socket) {
      const Said said = poold_says({command, "--socket", socket});
      EXPECT_EQ(said.status, 2) << command;
      return said.err;
    };
    EXPECT_NE(said_of(file).find(file + " is not a socket but a file"), std::string::npos);
    EXPECT_NE(said_of(directory.path()).find(" is not a socket but a directory"),
              std::string::npos);
    EXPECT_NE(said_of("/dev/null").find("/dev/null is not a socket but something else"),
              std::string::npos);
    EXPECT_NE(said_of("").find("path of the daemon's socket is empty"), std::string::npos);
    EXPECT_NE(said_of("/" + std::string(200, 'x')).find("is longer than 107 bytes"),
              std::string::npos);
  }
}

}  // namespace
}  // namespace portpool::test
