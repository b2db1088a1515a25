#include "kernel/socket_filter.h"

#include <linux/inet_diag.h>
#include <sys/socket.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>

namespace portpool::kernel {
namespace {

// The kernel runs such a program from its begin: each step goes on `yes` or `no` bytes further. A
// socket passes when the steps lead to exactly the end, and not when they lead beyond it, which one
// is allowed to do by one operation's length (inet_diag_bc_run()). `yes` fits into a byte, and the
// kernel's check wants it to lead to the operation that comes next; so whatever leads far is a
// `no`.
//
// The program is a search tree, written from its end: what comes next stands there already.
constexpr std::size_t kOperation = sizeof(inet_diag_bc_op);

// From the last of the program's words to the first.
class Program {
 public:
  // A point of the program: the length of what stands from there on.
  using Point = std::size_t;

  Point here() const { return words_.size() * sizeof(Word); }
  std::vector<std::byte> bytes() const {
    std::vector<std::byte> result(here());
    auto* next = result.data();
    for (auto word = words_.rbegin(); word != words_.rend(); ++word, next += sizeof(Word)) {
      std::memcpy(next, &*word, sizeof(Word));
    }
    return result;
  }

  void accept() {
    operation(INET_DIAG_BC_JMP, 0);
    set_no(0);
  }

  // The remote address begins with `bits` of `address` (with AF_UNSPEC it may be any); its port is
  // `port`, or any with -1. Goes on with what was written last, else at `otherwise`.
  void remote(const Address& address, int family, int bits, int port, Point otherwise) {
    Word words[4];
    std::memcpy(words, &address, sizeof words);
    const std::size_t used = family == AF_INET ? 1 : family == AF_INET6 ? 4 : 0;
    for (std::size_t i = 4; i > 4 - used; --i) words_.push_back(words[i - 1]);
    inet_diag_hostcond condition{};
    condition.family = static_cast<__u8>(family);
    condition.prefix_len = static_cast<__u8>(bits);
    condition.port = port;
    Word head[2];
    static_assert(sizeof condition == sizeof head);
    std::memcpy(head, &condition, sizeof head);
    words_.push_back(head[1]);
    words_.push_back(head[0]);
    operation(INET_DIAG_BC_D_COND, sizeof head + used * sizeof(Word));
    set_no(otherwise);
  }

  // The remote port is `port` or larger.
  void port_from(std::uint16_t port, Point otherwise) {
    inet_diag_bc_op operand{};
    operand.no = port;
    words_.push_back(std::bit_cast<Word>(operand));
    operation(INET_DIAG_BC_D_GE, kOperation);
    set_no(otherwise);
  }

  // No socket passes from here on.
  static constexpr Point kRefuse = SIZE_MAX;

 private:
  using Word = std::uint32_t;
  static_assert(sizeof(inet_diag_bc_op) == sizeof(Word));

  void operation(std::uint8_t code, std::size_t operands) {
    inet_diag_bc_op op{};
    op.code = code;
    op.yes = static_cast<std::uint8_t>(kOperation + operands);
    words_.push_back(std::bit_cast<Word>(op));
  }

  void set_no(Point target) {
    auto op = std::bit_cast<inet_diag_bc_op>(words_.back());
    op.no = static_cast<std::uint16_t>(target == kRefuse ? here() + kOperation : here() - target);
    words_.back() = std::bit_cast<Word>(op);
  }

  std::vector<Word> words_;
};

int bit_at(const Address& address, int bit) {
  unsigned char bytes[sizeof address];
  std::memcpy(bytes, &address, sizeof bytes);
  return bytes[bit / 8] >> (7 - bit % 8) & 1;
}

bool by_bytes(const Endpoint& a, const Endpoint& b) {
  const int order = std::memcmp(&a.address, &b.address, sizeof a.address);
  return order != 0 ? order < 0 : a.port < b.port;
}

using Sorted = std::span<const Endpoint>;

// The sockets whose remote port is that of one of `destinations`, sorted by it.
void write_ports(Program& program, Sorted destinations) {
  if (destinations.size() == 1) {
    program.accept();
    program.remote({}, AF_UNSPEC, 0, destinations.front().port, Program::kRefuse);
    return;
  }
  const std::size_t half = destinations.size() / 2;
  write_ports(program, destinations.first(half));
  const Program::Point lower = program.here();
  write_ports(program, destinations.subspan(half));
  program.port_from(destinations[half].port, lower);
}

// All of `destinations` are of one family and sorted; returns where the tree begins.
void write_tree(Program& program, Sorted destinations, int family) {
  constexpr int kMappedPrefix = 96;
  const int skipped = family == AF_INET ? kMappedPrefix : 0;
  const Endpoint& first = destinations.front();
  const Endpoint& last = destinations.back();
  if (destinations.size() == 1) {
    program.accept();
    program.remote(first.address, family, 128 - skipped, first.port, Program::kRefuse);
    return;
  }
  if (first.address == last.address) {
    const std::size_t half = destinations.size() / 2;
    write_tree(program, destinations.first(half), family);
    const Program::Point lower = program.here();
    write_tree(program, destinations.subspan(half), family);
    program.port_from(destinations[half].port, lower);
    return;
  }
  int bit = skipped;
  while (bit_at(first.address, bit) == bit_at(last.address, bit)) ++bit;
  const auto with_bit = std::partition_point(
      destinations.begin(), destinations.end(),
      [&](const Endpoint& destination) { return bit_at(destination.address, bit) == 0; });
  write_tree(program, {destinations.begin(), with_bit}, family);
  const Program::Point without = program.here();
  write_tree(program, {with_bit, destinations.end()}, family);
  program.remote(with_bit->address, family, bit + 1 - skipped, -1, without);
}

}  // namespace

std::vector<std::byte> destination_filter(std::span<const Endpoint> destinations) {
  std::vector<Endpoint> sorted(destinations.begin(), destinations.end());
  std::sort(sorted.begin(), sorted.end(), by_bytes);
  sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
  Program program;
  if (sorted.size() > kMostFiltered) {
    std::sort(sorted.begin(), sorted.end(),
              [](const Endpoint& a, const Endpoint& b) { return a.port < b.port; });
    const auto same_port = [](const Endpoint& a, const Endpoint& b) { return a.port == b.port; };
    sorted.erase(std::unique(sorted.begin(), sorted.end(), same_port), sorted.end());
    if (sorted.size() <= kMostFiltered) write_ports(program, sorted);
    return program.bytes();
  }
  const auto v6 = std::stable_partition(sorted.begin(), sorted.end(), [](const Endpoint& endpoint) {
    return is_v4(endpoint.address);
  });
  Program::Point v6_tree = Program::kRefuse;
  if (v6 != sorted.end()) {
    write_tree(program, {v6, sorted.end()}, AF_INET6);
    v6_tree = program.here();
  }
  if (v6 != sorted.begin()) {
    write_tree(program, {sorted.begin(), v6}, AF_INET);
    if (v6_tree != Program::kRefuse) program.remote({}, AF_INET, 0, -1, v6_tree);
  }
  return program.bytes();
}

}  // namespace portpool::kernel
