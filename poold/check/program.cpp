#include "check/program.h"
#include <elf.h>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <sstream>
#include <system_error>

#include "base/descriptor.h"
#include "base/error.h"
#include "check/elf.h"
#include "check/script.h"
#include "check/wrapper.h"

namespace portpool::check {
namespace {

// As many as the kernel follows (fs/exec.c, exec_binprm()).
constexpr int kMaxInterpreters = 5;

bool is_executable_file(const std::string& path) {
  struct stat info {};
  return stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && access(path.c_str(), X_OK) == 0;
}

// execvp(3). nullopt: there is none; `name` with a slash stays as it is.
std::optional<std::string> path_of(const std::string& name) {
  if (name.find('/') != std::string::npos) {
    return is_executable_file(name) ? std::optional(name) : std::nullopt;
  }
  const char* path = std::getenv("PATH");
  std::istringstream folders(path != nullptr ? path : "/bin:/usr/bin");
  for (std::string folder; std::getline(folders, folder, ':');) {
    std::string candidate = (folder.empty() ? "." : folder) + "/" + name;
    if (is_executable_file(candidate)) return candidate;
  }
  return std::nullopt;
}

std::string find_program(const std::string& name) {
  if (auto path = path_of(name)) return *std::move(path);
  struct stat info {};
  if (name.find('/') == std::string::npos) {
    throw UserError(fmt::format("cannot find {} in PATH; give its path, or a pid", name));
  }
  if (stat(name.c_str(), &info) != 0) throw UserError(with_errno("cannot find " + name));
  throw UserError(name + " is not a file that this user may execute");
}

// The words after "#!"; empty for no script. The kernel reads 256 bytes of it (BINPRM_BUF_SIZE).
std::vector<std::string> script_words(const std::string& path) {
  // Not to wait for a FIFO's writer.
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  std::string line(256, '\0');
  const ssize_t size = file ? ::read(file.get(), line.data(), line.size()) : 0;
  line.resize(static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
  if (!line.starts_with("#!")) return {};
  std::istringstream words(line.substr(2, line.find('\n') - 2));
  std::vector<std::string> result;
  for (std::string word; words >> word;) result.push_back(word);
  return result;
}

// `#!/usr/bin/env -S NAME=value python3 -u`: the program that env will run.
std::string program_of_env(const std::vector<std::string>& words) {
  for (std::size_t i = 1; i < words.size(); ++i) {
    if (!words[i].starts_with('-') && words[i].find('=') == std::string::npos) return words[i];
  }
  return words[0];
}

std::string interpreter_of(const std::vector<std::string>& words) {
  const bool by_env = words[0].ends_with("/env") && words.size() > 1;
  return find_program(by_env ? program_of_env(words) : words[0]);
}

void judge_privileges(const std::string& path, Judgement& judgement) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) return;
  const char* const ignored = "the dynamic linker ignores LD_PRELOAD then";
  const bool changes_user = (info.st_mode & S_ISUID) != 0 && info.st_uid != getuid();
  const bool changes_group = (info.st_mode & S_ISGID) != 0 && info.st_gid != getgid();
  if (changes_user || changes_group) {
    judgement.add("privileges", Answer::no,
                  fmt::format("It is set-{}-ID; {}", changes_user ? "user" : "group", ignored),
                  "run it as its owner, or give the rights by another way (systemd's "
                  "AmbientCapabilities)");
  } else if ((info.st_mode & (S_ISUID | S_ISGID)) != 0) {
    judgement.add("privileges", Answer::partly,
                  fmt::format("It is set-user-ID or set-group-ID: covered for this user, not for "
                              "others; {}",
                              ignored),
                  "run it as its owner");
  }
  if (getxattr(path.c_str(), "security.capability", nullptr, 0) > 0) {
    judgement.add("capabilities", getuid() == 0 ? Answer::partly : Answer::no,
                  fmt::format("It has file capabilities{}; {}",
                              getuid() == 0 ? ": covered for root, not for others" : "", ignored),
                  "take them off (setcap -r) and give them by another way (systemd's "
                  "AmbientCapabilities)");
  }
}

void judge_linking(const ElfFacts& facts, Judgement& judgement) {
  if (facts.go) {
    judgement.add("linking", Answer::no,
                  "It is a Go program: it makes its system calls itself, not through the C library",
                  "give its sockets to a proxy that portpool covers");
  } else if (facts.interpreter.empty()) {
    judgement.add("linking", Answer::no,
                  "It is linked statically: no dynamic linker, so no preloaded library",
                  "use a dynamically linked build");
  } else if (facts.interpreter.find("ld-musl") != std::string::npos) {
    judgement.add("linking", Answer::yes, "It is linked dynamically, with musl");
  } else if (facts.interpreter.find("/ld-linux") != std::string::npos ||
             facts.interpreter.find("/ld64.so") != std::string::npos) {
    judgement.add("linking", Answer::yes, "It is linked dynamically, with glibc");
  } else {
    judgement.add(
        "linking", Answer::unknown,
        fmt::format("Its dynamic linker is {}, neither glibc's nor musl's", facts.interpreter));
  }
}

// Programs that put themselves under a seccomp filter: nearly all do so by libseccomp. One that
// does not is known by its name.
void judge_sandbox(const ElfFacts& facts, Judgement& judgement) {
  const bool is_vsftpd = judgement.program.ends_with("/vsftpd");
  if (!is_vsftpd && !facts.needs("libseccomp.so")) return;
  judgement.add(
      "seccomp", Answer::partly,
      fmt::format("{}: once it has put itself under a filter, its connects take the kernel's path "
                  "(reason seccomp)",
                  is_vsftpd ? "It is vsftpd, which has a seccomp sandbox" : "It uses libseccomp"),
      is_vsftpd ? "seccomp_sandbox=NO in its configuration, if the pool matters more"
                : "switch its sandbox off, if the pool matters more (chronyd: -F 0)");
}

// Its runtime looks at the order of libraries when it starts, and ends the program where another
// one was preloaded before it.
void judge_sanitizer(const ElfFacts& facts, Judgement& judgement) {
  if (!facts.needs("libasan.so")) return;
  judgement.add(
      "sanitizer", Answer::partly,
      "It uses AddressSanitizer's shared runtime, which ends it when a library comes before that",
      "preload the runtime too, before the library: "
      "LD_PRELOAD=\"$(gcc -print-file-name=libasan.so) .../libportpool.so\"; "
      "or ASAN_OPTIONS=verify_asan_link_order=0");
}

}  // namespace

void judge_executable(const std::string& path, Judgement& judgement) {
  std::optional<ElfFacts> facts;
  std::optional<ElfFacts> own;
  try {
    facts = read_elf(path);
    own = read_elf("/proc/self/exe");
  } catch (const std::system_error& error) {
    judgement.add("format", Answer::unknown, fmt::format("It cannot be read: {}", error.what()),
                  "ask as root, or as its owner");
    return;
  }
  if (!facts) {
    judgement.add("format", Answer::unknown, "It is neither an ELF file nor a script",
                  "name the program that runs it");
    return;
  }
  if (own && (facts->machine != own->machine || facts->bits != own->bits)) {
    const bool is_our_32_bits = facts->machine == EM_386 && own->machine == EM_X86_64;
    judgement.add("architecture", Answer::no,
                  fmt::format("It is a {} program, and the library is {}", name_of_machine(*facts),
                              name_of_machine(*own)),
                  is_our_32_bits ? "preload both libraries by one name, in single quotes: "
                                   "LD_PRELOAD='/usr/$LIB/portpool/libportpool.so' (docs/check.md)"
                                 : "install portpool built for that architecture beside this one");
    return;
  }
  judge_linking(*facts, judgement);
  if (facts->needs("liburing.so")) {
    judgement.add("io_uring", Answer::partly,
                  "It uses liburing: connects that it makes by io_uring are not covered",
                  "switch io_uring off in its configuration, if it can");
  }
  judge_sandbox(*facts, judgement);
  judge_sanitizer(*facts, judgement);
}

bool is_program(const std::string& name) { return path_of(name).has_value(); }

namespace {

// How often one program is started by another.
constexpr int kMostStarts = 16;

void judge_words(std::span<const std::string> words, int starts, Judgement& judgement);

// What a script for a shell is there to start. False: nothing but what the shell itself runs.
bool judge_started(const std::string& script, const std::string& interpreter, int starts,
                   Judgement& judgement) {
  const auto words = command_of_script(script, interpreter);
  if (!words) return false;
  const bool known = !words->empty() && is_program(words->front()) && starts < kMostStarts;
  if (known) {
    judgement.add("script", Answer::yes,
                  fmt::format("{} starts {} by exec", script, words->front()));
    judge_words(*words, starts + 1, judgement);
  } else {
    judgement.add(
        "script", Answer::unknown,
        fmt::format("{} starts another program by exec, and which cannot be told from it", script),
        "ask about that program, or about its pid when it runs");
  }
  return known;
}

void judge_file(const std::string& name, int starts, Judgement& judgement) {
  std::string path = find_program(name);
  for (int i = 0; i < kMaxInterpreters; ++i) {
    const std::vector<std::string> words = script_words(path);
    if (words.empty()) break;
    const std::string interpreter = interpreter_of(words);
    judgement.add("script", Answer::yes, fmt::format("{} is a script for {}", path, interpreter));
    if (i == 0 && judge_started(path, interpreter, starts, judgement)) return;
    path = interpreter;
  }
  judgement.program = path;
  judge_executable(path, judgement);
  judge_privileges(path, judgement);
}

void judge_words(std::span<const std::string> words, int starts, Judgement& judgement) {
  for (;;) {
    const Wrapping wrapping = wrapping_of(words);
    if (!wrapping.loses.empty()) {
      judgement.add("wrapper", Answer::no, wrapping.loses, wrapping.fix);
    }
    if (wrapping.inner == 0) break;
    judge_privileges(find_program(words[0]), judgement);
    words = words.subspan(wrapping.inner);
  }
  judge_file(words[0], starts, judgement);
}

}  // namespace

Judgement judge_command(std::span<const std::string> words) {
  Judgement judgement;
  for (const std::string& word : words) {
    judgement.subject += (judgement.subject.empty() ? "" : " ") + word;
  }
  judge_words(words, 0, judgement);
  return judgement;
}

}  // namespace portpool::check
