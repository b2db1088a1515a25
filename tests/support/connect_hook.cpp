#include "support/connect_hook.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <system_error>

#include "support/eventually.h"
#include "support/temp_dir.h"

namespace portpool::test {
namespace {

using Program = std::vector<bpf_insn>;

// The instruction set: Documentation/bpf/standardization/instruction-set.rst.
enum Register : __u8 { r0, r1, r2, r3, r4, r5, r6 };

bpf_insn instruction(int code, int to, int from, int offset, std::uint32_t immediate) {
  bpf_insn made{};
  made.code = static_cast<__u8>(code);
  made.dst_reg = static_cast<__u8>(to & 15);
  made.src_reg = static_cast<__u8>(from & 15);
  made.off = static_cast<__s16>(offset);
  made.imm = static_cast<__s32>(immediate);
  return made;
}
bpf_insn set(Register to, std::uint32_t value) {
  return instruction(BPF_ALU | BPF_MOV | BPF_K, to, 0, 0, value);
}
bpf_insn copy(Register to, Register from) {
  return instruction(BPF_ALU64 | BPF_MOV | BPF_X, to, from, 0, 0);
}
bpf_insn load(Register to, std::size_t field) {
  return instruction(BPF_LDX | BPF_MEM | BPF_W, to, r6, static_cast<int>(field), 0);
}
bpf_insn store(std::size_t field, Register from) {
  return instruction(BPF_STX | BPF_MEM | BPF_W, r6, from, static_cast<int>(field), 0);
}
bpf_insn skip_if_equal(Register what, std::uint32_t value, int count) {
  return instruction(BPF_JMP32 | BPF_JEQ | BPF_K, what, 0, count, value);
}
bpf_insn skip_unless_equal(Register what, std::uint32_t value, int count) {
  return instruction(BPF_JMP32 | BPF_JNE | BPF_K, what, 0, count, value);
}
bpf_insn call(std::uint32_t helper) { return instruction(BPF_JMP | BPF_CALL, 0, 0, 0, helper); }
bpf_insn leave() { return instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0); }

// The words of an address, each with its place in bpf_sock_addr; as they stand in memory.
struct Word {
  std::size_t field;
  std::uint32_t value;
};
std::vector<Word> words_of(const SocketAddress& address) {
  if (address.family() == AF_INET) {
    in_addr raw = reinterpret_cast<const sockaddr_in*>(address.raw())->sin_addr;
    return {{offsetof(bpf_sock_addr, user_ip4), raw.s_addr}};
  }
  std::vector<Word> words;
  const in6_addr raw = reinterpret_cast<const sockaddr_in6*>(address.raw())->sin6_addr;
  for (std::size_t i = 0; i < 4; ++i) {
    std::uint32_t value;
    std::memcpy(&value, raw.s6_addr + 4 * i, sizeof value);
    words.push_back({offsetof(bpf_sock_addr, user_ip6) + 4 * i, value});
  }
  return words;
}

constexpr std::size_t kPort = offsetof(bpf_sock_addr, user_port);

void write_address(Program& program, const SocketAddress& address) {
  for (const Word& word : words_of(address)) {
    program.push_back(set(r3, word.value));
    program.push_back(store(word.field, r3));
  }
}

Program at_connect(const SocketAddress& service, const SocketAddress& backend) {
  Program rewrite{call(BPF_FUNC_get_prandom_u32),
                  instruction(BPF_ALU | BPF_AND | BPF_K, r0, 0, 0, 1),
                  set(r3, htons(backend.port())),
                  skip_if_equal(r0, 0, 1),
                  set(r3, htons(static_cast<std::uint16_t>(backend.port() + 1))),
                  store(kPort, r3)};
  write_address(rewrite, backend);
  // From the end on, since each condition skips all that follows.
  std::vector<Word> conditions = words_of(service);
  conditions.push_back({kPort, htons(service.port())});
  Program program{copy(r6, r1)};
  int left = static_cast<int>(2 * conditions.size() + rewrite.size());
  for (const Word& word : conditions) {
    left -= 2;
    program.push_back(load(r2, word.field));
    program.push_back(skip_unless_equal(r2, word.value, left));
  }
  program.insert(program.end(), rewrite.begin(), rewrite.end());
  program.push_back(set(r0, 1));
  program.push_back(leave());
  return program;
}

// Of every connection in the group.
Program at_getpeername(const SocketAddress& service) {
  Program program{copy(r6, r1), set(r3, htons(service.port())), store(kPort, r3)};
  write_address(program, service);
  program.push_back(set(r0, 1));
  program.push_back(leave());
  return program;
}

int bpf(bpf_cmd command, bpf_attr& attributes) {
  return static_cast<int>(syscall(SYS_bpf, command, &attributes, sizeof attributes));
}

Descriptor load_program(const Program& program, bpf_attach_type place) {
  bpf_attr attributes{};
  attributes.prog_type = BPF_PROG_TYPE_CGROUP_SOCK_ADDR;
  attributes.expected_attach_type = place;
  attributes.insns = reinterpret_cast<std::uintptr_t>(program.data());
  attributes.insn_cnt = static_cast<__u32>(program.size());
  attributes.license = reinterpret_cast<std::uintptr_t>("GPL");
  std::string log(16'384, '\0');
  attributes.log_level = 1;
  attributes.log_buf = reinterpret_cast<std::uintptr_t>(log.data());
  attributes.log_size = static_cast<__u32>(log.size());
  Descriptor loaded(bpf(BPF_PROG_LOAD, attributes));
  if (!loaded) {
    throw std::system_error(errno, std::generic_category(),
                            std::string("bpf(BPF_PROG_LOAD): ") + log.c_str());
  }
  return loaded;
}

void attach(const Descriptor& program, const std::string& group, bpf_attach_type place) {
  const Descriptor directory(open(group.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  bpf_attr attributes{};
  attributes.target_fd = static_cast<__u32>(directory.get());
  attributes.attach_bpf_fd = static_cast<__u32>(program.get());
  attributes.attach_type = place;
  if (!directory || bpf(BPF_PROG_ATTACH, attributes) != 0) {
    throw std::system_error(errno, std::generic_category(), "bpf(BPF_PROG_ATTACH) at " + group);
  }
}

// Where cgroup v2 is mounted; empty: nowhere.
std::string unified_hierarchy() {
  std::istringstream mounts(read_whole_file("/proc/self/mounts"));
  std::string device;
  std::string place;
  std::string type;
  for (std::string rest; mounts >> device >> place >> type; std::getline(mounts, rest)) {
    if (type == "cgroup2") return place;
  }
  return "";
}

std::string make_group() {
  const std::string root = unified_hierarchy();
  if (root.empty()) throw std::runtime_error("no cgroup2 is mounted here");
  std::string group = root + "/portpool-test-" + std::to_string(getpid());
  if (mkdir(group.c_str(), 0755) != 0 && errno != EEXIST) {
    throw std::system_error(errno, std::generic_category(), "mkdir " + group);
  }
  return group;
}

// Whatever a test that failed has left in it ends.
void remove_group(const std::string& group) {
  eventually(
      [&] {
        std::ifstream members(group + "/cgroup.procs");
        for (pid_t pid = 0; members >> pid;) kill(pid, SIGKILL);
        return rmdir(group.c_str()) == 0 || errno == ENOENT;
      },
      std::chrono::seconds(10));
}

}  // namespace

std::string ConnectHook::missing() {
  try {
    const SocketAddress any("127.0.0.1:1");
    const ConnectHook hook(any, any, Names::hide);
    return "";
  } catch (const std::exception& error) {
    return error.what();
  }
}

ConnectHook::ConnectHook(const SocketAddress& service, const SocketAddress& backend, Names names)
    : group_(make_group()) {
  const bool v4 = service.family() == AF_INET;
  const auto add = [&](const Program& program, bpf_attach_type place) {
    programs_.push_back(load_program(program, place));
    attach(programs_.back(), group_, place);
  };
  try {
    add(at_connect(service, backend), v4 ? BPF_CGROUP_INET4_CONNECT : BPF_CGROUP_INET6_CONNECT);
    if (names == Names::hide) {
      add(at_getpeername(service),
          v4 ? BPF_CGROUP_INET4_GETPEERNAME : BPF_CGROUP_INET6_GETPEERNAME);
    }
  } catch (...) {
    remove_group(group_);
    throw;
  }
}

// The programs go with their group.
ConnectHook::~ConnectHook() { remove_group(group_); }

}  // namespace portpool::test
