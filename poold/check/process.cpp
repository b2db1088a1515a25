#include "check/process.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "base/error.h"
#include "check/program.h"
#include "check/served.h"
#include "kernel/proc_file.h"

namespace portpool::check {
namespace {

void judge_profile(pid_t pid, Judgement& judgement) {
  std::string profile;
  for (const char* file : {"apparmor/current", "current"}) {
    if (!profile.empty()) break;
    profile = kernel::read_proc_file(fmt::format("/proc/{}/attr/{}", pid, file)).value_or("");
  }
  if (profile.find("(enforce)") == std::string::npos) return;
  judgement.add(
      "apparmor", Answer::partly,
      fmt::format("An AppArmor profile is enforced: {}", profile.substr(0, profile.find('\n'))),
      "allow the library (mr) and poold's socket (rw) in the profile");
}

}  // namespace

Judgement judge_process(pid_t pid, Daemons& daemons) {
  const std::string folder = fmt::format("/proc/{}", pid);
  Judgement judgement;
  judgement.subject = fmt::format("pid {}", pid);
  if (access(folder.c_str(), F_OK) != 0) {
    throw UserError(
        fmt::format("there is no process {} here (pid namespaces count for themselves)", pid));
  }
  char program[4096];
  const ssize_t length = readlink((folder + "/exe").c_str(), program, sizeof program);
  const auto process = length > 0 ? read_process(pid) : std::nullopt;
  if (!process) {
    judgement.add("access", Answer::unknown,
                  errno == ENOENT ? "It is a kernel thread, or has just ended"
                                  : "This user may not look into it",
                  "ask as root, or as its user");
    return judgement;
  }
  judgement.program.assign(program, static_cast<std::size_t>(length));
  judge_executable(folder + "/exe", judgement);
  judge_served(*process, daemons.of(*process), judgement);
  if (process->preload.loaded) judge_profile(pid, judgement);
  return judgement;
}

}  // namespace portpool::check
