// `poold check PROGRAM|PID`: yes, partly, no or unknown, with the reason; and `poold run` says the
// same before it starts what it cannot cover.
#include <elf.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <linux/filter.h>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <list>

#include "support/elf_file.h"
#include "support/temp_dir.h"
#include "system/integration/common.h"

namespace portpool::test {
namespace {

namespace fs = std::filesystem;

const char* const kOrdinary = "/bin/true";

struct Checked {
  int status = -1;
  nlohmann::json json;

  // The answer of the finding `name`; empty without one.
  std::string answer(const std::string& name) const {
    for (const nlohmann::json& finding : json.at("findings")) {
      if (finding.at("name") == name) return finding.at("answer");
    }
    return "";
  }
  // Of the finding that decided.
  std::string reason() const {
    for (const nlohmann::json& finding : json.at("findings")) {
      if (finding.at("answer") == json.at("answer")) return finding.at("reason");
    }
    return "";
  }
  bool mentions(const std::string& word) const {
    return json.dump().find(word) != std::string::npos;
  }
};

Checked check(const std::string& subject, const std::vector<std::string>& environment = {}) {
  Process process({poold_path(), "check", "--json", subject}, environment);
  Checked checked;
  checked.status = process.wait();
  EXPECT_EQ(process.err(), "");
  checked.json = nlohmann::json::parse(process.out());
  EXPECT_EQ(checked.json.at("schema"), 1);
  return checked;
}

// What a person reads must give the same status, and the answer.
void expect_answer(const std::string& subject, int status, const std::string& answer,
                   const std::string& finding) {
  const Checked checked = check(subject);
  EXPECT_EQ(checked.status, status) << subject << checked.json.dump(2);
  EXPECT_EQ(checked.json.at("answer"), answer);
  EXPECT_EQ(checked.answer(finding), answer) << checked.json.dump(2);
  Process text({poold_path(), "check", subject});
  EXPECT_EQ(text.wait(), status);
  EXPECT_TRUE(text.out().starts_with(subject + ": " + answer + "\n")) << text.out();
}

class CheckProgram : public testing::Test {
 protected:
  std::string copy(const std::string& name) const {
    fs::copy_file(kOrdinary, directory.file(name), fs::copy_options::overwrite_existing);
    return directory.file(name);
  }
  std::string script(const std::string& name, const std::string& text) const {
    const std::string path = directory.write(name, text);
    fs::permissions(path, fs::perms::owner_all);
    return path;
  }

  TempDir directory;
};

TEST_F(CheckProgram, OrdinaryPrograms) {
  expect_answer(kOrdinary, 0, "yes", "linking");
  expect_answer("env", 0, "yes", "linking");
}

// What a command line starts, by way of programs that start others.
TEST_F(CheckProgram, Wrappers) {
  using Words = std::vector<std::string>;
  const auto answer = [](const Words& words) {
    Words command{poold_path(), "check", "--json", "--"};
    command.insert(command.end(), words.begin(), words.end());
    Process process(command);
    process.wait();
    const nlohmann::json json = nlohmann::json::parse(process.out());
    for (const nlohmann::json& finding : json.at("findings")) {
      if (finding.at("name") != "wrapper") continue;
      EXPECT_NE(finding.at("fix"), "") << finding;
      EXPECT_EQ(json.at("answer"), "no");
      return std::string("lost");
    }
    return json.at("answer").get<std::string>();
  };
  for (const Words& words : {Words{"env", "-i", "true"},
                             {"env", "-", "true"},
                             {"env", "-u", "LD_PRELOAD", "true"},
                             {"env", "LD_PRELOAD=/other.so", "true"},
                             {"su", "-"},
                             {"runuser", "-l", "nobody"},
                             {"setpriv", "--reset-env", "true"},
                             {"mptcpize", "run", "true"},
                             {"nice", "-n", "5", "env", "-i", "true"}}) {
    EXPECT_EQ(answer(words), "lost") << words[0];
  }
  for (const Words& words : {Words{"env", "A=1", "true", "-i"},
                             {"env", "-u", "i", "true"},
                             {"setpriv", "--reuid", "65534", "true"},
                             {"runuser", "-u", "nobody", "--", "true"},
                             {"su", "-w", "LD_PRELOAD", "-", "nobody", "-c", "true"},
                             {"gosu", "nobody", "true"},
                             {"timeout", "5", "nice", "true"}}) {
    EXPECT_EQ(answer(words), words[0] != "su" ? "yes"
                             : geteuid() == 0 ? "partly"
                                              : "no")
        << words[0];
  }
}

TEST_F(CheckProgram, StaticProgram) { expect_answer("/sbin/ldconfig", 2, "no", "linking"); }

TEST_F(CheckProgram, MuslPrograms) {
  const std::string source = directory.write("empty.c", "int main(void) { return 0; }\n");
  const std::string dynamic = directory.file("dynamic");
  const std::string fixed = directory.file("static");
  Process first({"musl-gcc", "-o", dynamic, source});
  Process second({"musl-gcc", "-static", "-o", fixed, source});
  if (first.wait() == 127) GTEST_SKIP() << "no musl here";
  ASSERT_EQ(second.wait(), 0) << second.err();
  expect_answer(dynamic, 0, "yes", "linking");
  expect_answer(fixed, 2, "no", "linking");
}

// Go marks what it makes by this section, whether it is linked dynamically or not.
TEST_F(CheckProgram, GoProgram) {
  const std::string path = copy("go");
  const std::string mark = directory.write("mark", "\xff Go buildinf:");
  Process objcopy({"objcopy", "--add-section", ".go.buildinfo=" + mark, path});
  ASSERT_EQ(objcopy.wait(), 0) << objcopy.err();
  expect_answer(path, 2, "no", "linking");
}

TEST_F(CheckProgram, OtherArchitecture) {
  const std::string path = copy("foreign");
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  const std::uint16_t machine = EM_S390;
  file.seekp(offsetof(Elf64_Ehdr, e_machine));
  file.write(reinterpret_cast<const char*>(&machine), sizeof machine);
  file.close();
  expect_answer(path, 2, "no", "architecture");
}

TEST_F(CheckProgram, DamagedFilesAreNoReasonToFall) {
  const std::string whole = read_whole_file(kOrdinary);
  for (const std::size_t length :
       {std::size_t{4}, std::size_t{40}, std::size_t{200}, whole.size() / 2, whole.size() - 1}) {
    const std::string path = script("damaged", whole.substr(0, length));
    EXPECT_LE(check(path).status, 3) << length;
  }
  std::string wild = whole;
  std::memset(wild.data() + offsetof(Elf64_Ehdr, e_phoff), 0xFF, 24);
  EXPECT_LE(check(script("wild", wild)).status, 3);
}

TEST_F(CheckProgram, SetUserId) {
  if (geteuid() != 0) GTEST_SKIP() << "only root may give files away";
  const std::string path = copy("setuid");
  fs::permissions(path, fs::perms::set_uid, fs::perm_options::add);
  expect_answer(path, 1, "partly", "privileges");
  ASSERT_EQ(chown(path.c_str(), 65534, 65534), 0);
  fs::permissions(path, fs::perms::set_uid, fs::perm_options::add);  // chown takes it off
  expect_answer(path, 2, "no", "privileges");
}

TEST_F(CheckProgram, FileCapabilities) {
  if (geteuid() != 0) GTEST_SKIP() << "only root may set capabilities";
  const std::string path = copy("capable");
  vfs_cap_data data{};
  data.magic_etc = VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE;
  data.data[0].permitted = 1U << CAP_NET_BIND_SERVICE;
  if (setxattr(path.c_str(), "security.capability", &data, sizeof data, 0) != 0) {
    GTEST_SKIP() << "no capabilities on this file system";
  }
  expect_answer(path, 1, "partly", "capabilities");
}

TEST_F(CheckProgram, ScriptsAreJudgedByTheirInterpreter) {
  expect_answer(script("shell", "#!/bin/sh\n"), 0, "yes", "script");
  const Checked by_env = check(script("env", "#!/usr/bin/env -S LANG=C sh -e\n"));
  EXPECT_EQ(by_env.status, 0);
  EXPECT_TRUE(by_env.json.at("program").get<std::string>().ends_with("/sh"));
  const std::string inner = script("inner", "#!/sbin/ldconfig\n");
  expect_answer(script("outer", "#! " + inner + " -x\n"), 2, "no", "linking");
  expect_answer(script("plain", "echo without a first line\n"), 3, "unknown", "format");
}

// A script that is there to start a program is judged by that.
TEST_F(CheckProgram, ScriptsThatStartOne) {
  const std::string head = "#!/bin/sh\n# exec nothing\nset -e\nexec 2>&1\n";
  expect_answer(script("static", head + "  exec /sbin/ldconfig \"$@\"\n"), 2, "no", "linking");
  expect_answer(script("loses", head + "exec env -i true\n"), 2, "no", "wrapper");
  expect_answer(
      script("through", head + "exec " + script("inner", "#!/bin/sh\nexec true\n") + "\n"), 0,
      "yes", "linking");
  const Checked hidden = check(script("hidden", head + "exec \"$JAVA\" -jar it.jar\n"));
  EXPECT_EQ(hidden.status, 3) << hidden.json.dump(2);
  EXPECT_EQ(check(script("none", head)).status, 0);
  const std::string itself = directory.file("itself");
  EXPECT_EQ(check(script("itself", "#!/bin/sh\nexec " + itself + "\n")).status, 3);
}

TEST_F(CheckProgram, WhatCannotBeFound) {
  const std::string not_executable = directory.write("file", "");
  for (const std::string& subject :
       {std::string("no-such-program-anywhere"), std::string("/no/such/program"), not_executable,
        directory.path(), script("lost", "#!/no/such/interpreter\n"), std::string("999999999")}) {
    Process process({poold_path(), "check", subject});
    EXPECT_EQ(process.wait(), 2) << subject;
    EXPECT_EQ(process.out(), "");
    EXPECT_TRUE(process.err().starts_with("poold: ")) << process.err();
  }
  Process nothing({poold_path(), "check"});
  EXPECT_EQ(nothing.wait(), 2);
}

class CheckProcess : public PooledNet {
 protected:
  Checked check_guest(const std::string& guest, const Under& under) {
    guest_.emplace_back(guest_command(guest), environment(under));
    return check_process(guest_.back());
  }
  Checked check_process(Process& process) {
    process.wait_for_output("ready\n");
    return check(std::to_string(process.pid()), {"PORTPOOL_SOCKET=" + poold.socket()});
  }
  static std::vector<std::string> environment(const Under& under) {
    std::vector<std::string> result;
    if (under.shim) result = preload_environment();
    result.insert(result.end(), under.environment.begin(), under.environment.end());
    return result;
  }

  std::list<Process> guest_;
};

GUEST(says_ready) {
  say("ready");
  await_line();
}

// A filter that allows everything.
GUEST(filters_itself) {
  sock_filter all[] = {{BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW}};
  sock_fprog program{1, all};
  CHECK_THAT(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  CHECK_THAT(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
  say("ready");
  await_line();
}

TEST_F(CheckProcess, UnderTheShim) {
  const Checked checked = check_guest("says_ready", poold.shim());
  EXPECT_EQ(checked.status, 0) << checked.json.dump(2);
  EXPECT_EQ(checked.answer("library"), "yes");
  EXPECT_EQ(checked.answer("segment"), "yes");
}

TEST_F(CheckProcess, WithoutTheShim) {
  const Checked checked = check_guest("says_ready", native());
  EXPECT_EQ(checked.status, 2) << checked.json.dump(2);
  EXPECT_EQ(checked.answer("library"), "no");
}

TEST_F(CheckProcess, NotAttached) {
  const Checked checked = check_guest("says_ready", shim_at(poold.socket() + ".other"));
  EXPECT_EQ(checked.status, 2) << checked.json.dump(2);
  EXPECT_EQ(checked.answer("daemon"), "no");
  EXPECT_EQ(checked.reason(), "no_daemon");
  EXPECT_FALSE(checked.mentions("socket_group")) << checked.json.dump(2);
}

// It began without a poold, and has not called anybody since.
TEST_F(CheckProcess, NotAttachedYet) {
  poold.stop();
  guest_.emplace_back(guest_command("says_ready"), environment(shim_at(poold.socket())));
  guest_.back().wait_for_output("ready\n");
  poold.restart();
  const Checked checked = check_process(guest_.back());
  EXPECT_EQ(checked.status, 1) << checked.json.dump(2);
  EXPECT_EQ(checked.answer("segment"), "partly");
  EXPECT_FALSE(checked.mentions("socket_group")) << checked.json.dump(2);
}

TEST_F(CheckProcess, DaemonThatHangs) {
  guest_.emplace_back(guest_command("says_ready"), environment(poold.shim()));
  guest_.back().wait_for_output("ready\n");
  poold.process().signal(SIGSTOP);
  ASSERT_TRUE(eventually([&] {
    Process status({poold_path(), "status", "--socket", poold.socket()});
    return status.wait() == 1;  // no heartbeat
  }));
  const Checked checked = check_process(guest_.back());
  poold.process().signal(SIGCONT);
  EXPECT_EQ(checked.status, 2) << checked.json.dump(2);
  EXPECT_EQ(checked.reason(), "stale_heartbeat");
  EXPECT_EQ(check_process(guest_.back()).status, 0);
}

TEST_F(CheckProcess, DaemonThatWasKilled) {
  guest_.emplace_back(guest_command("says_ready"), environment(poold.shim()));
  guest_.back().wait_for_output("ready\n");
  poold.kill();
  const Checked checked = check_process(guest_.back());
  EXPECT_EQ(checked.status, 2) << checked.json.dump(2);
  EXPECT_EQ(checked.reason(), "stale_heartbeat");
}

// As nobody, who is in no socket_group.
TEST_F(CheckProcess, ThatMayNotOpenTheSocket) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can be somebody else";
  std::vector<std::string> command{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"};
  for (const std::string& word : guest_command("says_ready")) command.push_back(word);
  guest_.emplace_back(command, environment(shim_at(poold.socket())));
  const Checked checked = check_process(guest_.back());
  if (checked.answer("library") != "yes") GTEST_SKIP() << "nobody cannot read the library here";
  EXPECT_EQ(checked.status, 2) << checked.json.dump(2);
  EXPECT_EQ(checked.answer("permission"), "no");
  EXPECT_EQ(checked.reason(), "attach_refused");
  EXPECT_TRUE(checked.mentions("socket_group"));
}

TEST_F(CheckProcess, WhoseLibraryWasReplaced) {
  const TempDir place;
  const std::string library = place.file("libportpool.so");
  fs::copy_file(shim_path(), library);
  std::vector<std::string> variables = environment(poold.shim());
  for (std::string& variable : variables) {
    const std::size_t at = variable.find(shim_path());
    if (variable.starts_with("LD_PRELOAD=")) variable.replace(at, shim_path().size(), library);
  }
  guest_.emplace_back(guest_command("says_ready"), variables);
  guest_.back().wait_for_output("ready\n");
  EXPECT_EQ(check_process(guest_.back()).status, 0);
  fs::copy_file(shim_path(), library + ".new");
  fs::rename(library + ".new", library);
  const Checked checked = check_process(guest_.back());
  EXPECT_EQ(checked.status, 1) << checked.json.dump(2);
  EXPECT_EQ(checked.answer("replaced"), "partly");
}

TEST_F(CheckProcess, UnderADaemonThatObserves) {
  const Poold observing("mode = \"observe\"\n");
  guest_.emplace_back(guest_command("says_ready"), environment(observing.shim()));
  const Checked checked = check_process(guest_.back());
  EXPECT_EQ(checked.status, 2) << checked.json.dump(2);
  EXPECT_EQ(checked.reason(), "observe");
}

TEST_F(CheckProcess, SwitchedOff) {
  for (const std::string mode : {"observe", "off"}) {
    const Checked checked =
        check_guest("says_ready", shim_at(poold.socket(), {"PORTPOOL_MODE=" + mode}));
    EXPECT_EQ(checked.status, 2) << checked.json.dump(2);
    EXPECT_EQ(checked.answer("mode"), "no");
    EXPECT_EQ(checked.reason(), mode);
    EXPECT_FALSE(checked.mentions("socket_group")) << checked.json.dump(2);
  }
}

TEST_F(CheckProcess, InAnotherNetworkNamespace) {
  std::vector<std::string> command{"unshare", "--net"};
  for (const std::string& word : guest_command("says_ready")) command.push_back(word);
  guest_.emplace_back(command, environment(shim_at(poold.socket())));
  const Checked checked = check_process(guest_.back());
  EXPECT_EQ(checked.status, 2) << checked.json.dump(2);
  EXPECT_EQ(checked.answer("network_namespace"), "no");
  EXPECT_EQ(checked.reason(), "other_netns");
  EXPECT_FALSE(checked.mentions("socket_group")) << checked.json.dump(2);
}

TEST_F(CheckProcess, LibraryThatIsNotThere) {
  const Checked checked = [&] {
    guest_.emplace_back(guest_command("says_ready"),
                        std::vector<std::string>{"LD_PRELOAD=/no/such/libportpool.so"});
    return check_process(guest_.back());
  }();
  EXPECT_EQ(checked.status, 2) << checked.json.dump(2);
  EXPECT_NE(checked.json.dump().find("not there in its own file system"), std::string::npos);
}

TEST_F(CheckProcess, WithASeccompFilter) {
  const Checked checked = check_guest("filters_itself", poold.shim());
  EXPECT_EQ(checked.status, 1) << checked.json.dump(2);
  EXPECT_EQ(checked.answer("seccomp"), "partly");
}

TEST_F(CheckProgram, ThatWillPutItselfUnderAFilter) {
  const TempDir place;
  const std::string program = place.file("sandboxed");
  fs::copy_file(elf_that_needs(1, std::string_view("libseccomp.so.2\0", 16)).path(), program);
  fs::permissions(program, fs::perms::owner_all);
  EXPECT_EQ(check(program).answer("seccomp"), "partly");
  if (const std::string vsftpd = "/usr/sbin/vsftpd"; fs::exists(vsftpd)) {
    expect_answer(vsftpd, 1, "partly", "seccomp");
  }
  EXPECT_EQ(check(kOrdinary).answer("seccomp"), "");
}

TEST_F(CheckProgram, WithASanitizersRuntime) {
  const TempDir place;
  const std::string program = place.file("sanitized");
  fs::copy_file(elf_that_needs(1, std::string_view("libasan.so.8\0", 13)).path(), program);
  fs::permissions(program, fs::perms::owner_all);
  EXPECT_EQ(check(program).answer("sanitizer"), "partly");
  EXPECT_EQ(check(kOrdinary).answer("sanitizer"), "");
}

TEST_F(CheckProcess, UnderAFilterOfItsOwn) {
  const Checked checked = check_guest("filters_itself", poold.shim());
  EXPECT_NE(checked.json.dump().find("reason seccomp"), std::string::npos);
}

TEST_F(CheckProcess, AskedByAnotherUser) {
  if (geteuid() != 0) GTEST_SKIP() << "not root anyway";
  guest_.emplace_back(guest_command("says_ready"), std::vector<std::string>{});
  guest_.back().wait_for_output("ready\n");
  const TempDir place;
  fs::permissions(place.path(), fs::perms::all);
  fs::copy(poold_path(), place.file("poold"));
  Process process({"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                   place.file("poold"), "check", std::to_string(guest_.back().pid())});
  EXPECT_EQ(process.wait(), 3) << process.out() << process.err();
}

TEST_F(EchoNet, RunSaysWhatItCannotCover) {
  const std::vector<std::string> command{"/sbin/ldconfig", "--print-cache"};
  Process natively(command);
  ASSERT_EQ(natively.wait(), 0);
  Process process({poold_path(), "run", "--", command[0], command[1]});
  EXPECT_EQ(process.wait(), 0);
  EXPECT_EQ(process.out(), natively.out());
  EXPECT_TRUE(
      process.err().starts_with("portpool: /sbin/ldconfig runs without the pool. It is "
                                "linked statically"))
      << process.err();
  Process covered({poold_path(), "run", "--", "true"});
  EXPECT_EQ(covered.wait(), 0);
  EXPECT_EQ(covered.err().find("without the pool"), std::string::npos) << covered.err();
}

}  // namespace
}  // namespace portpool::test
