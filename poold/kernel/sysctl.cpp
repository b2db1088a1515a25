#include "kernel/sysctl.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

namespace portpool::kernel {
namespace {

// The kernel prints a port list only from the file's start, so that it must come in one read():
// at most 32768 ranges of "ddddd,".
constexpr std::size_t kLargestSysctl = std::size_t{256} * 1024;

constexpr std::string_view kSpace = " \t\n";

// Takes the number that `text` begins with off its front.
template <class Number>
std::optional<Number> take_number(std::string_view& text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{}) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

std::optional<PortRange> checked(std::optional<std::uint16_t> low,
                                 std::optional<std::uint16_t> high) {
  if (!low || !high || *low > *high) return std::nullopt;
  return PortRange{*low, *high};
}

// "7" or "7-9".
std::optional<PortRange> take_range(std::string_view& text) {
  const auto low = take_number<std::uint16_t>(text);
  if (!text.starts_with('-')) return checked(low, low);
  text.remove_prefix(1);
  return checked(low, take_number<std::uint16_t>(text));
}

}  // namespace

std::optional<std::string> read_sysctl_text(std::string_view name) {
  const std::string path = "/proc/sys/" + std::string(name);
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return std::nullopt;
  std::string text(kLargestSysctl, '\0');
  ssize_t size = 0;
  do {
    size = ::read(fd, text.data(), text.size());
  } while (size < 0 && errno == EINTR);
  ::close(fd);
  if (size < 0) return std::nullopt;
  text.resize(static_cast<std::size_t>(size));
  text.erase(text.find_last_not_of(kSpace) + 1);
  return text;
}

std::optional<long> read_sysctl(std::string_view name) {
  const auto text = read_sysctl_text(name);
  if (!text) return std::nullopt;
  std::string_view rest = *text;
  const auto value = take_number<long>(rest);
  return rest.empty() ? value : std::nullopt;
}

std::optional<PortRange> local_port_range() {
  const auto text = read_sysctl_text("net/ipv4/ip_local_port_range");
  if (!text) return std::nullopt;
  std::string_view rest = *text;
  const auto low = take_number<std::uint16_t>(rest);
  rest.remove_prefix(std::min(rest.find_first_not_of(kSpace), rest.size()));
  const auto high = take_number<std::uint16_t>(rest);
  return rest.empty() ? checked(low, high) : std::nullopt;
}

std::optional<std::vector<PortRange>> parse_port_list(std::string_view text) {
  std::vector<PortRange> ranges;
  while (!text.empty()) {
    const auto range = take_range(text);
    if (!range) return std::nullopt;
    ranges.push_back(*range);
    if (text.empty()) break;
    if (text.front() != ',' || text.size() == 1) return std::nullopt;
    text.remove_prefix(1);
  }
  return ranges;
}

std::vector<PortRange> reserved_ports() {
  const auto text = read_sysctl_text("net/ipv4/ip_local_reserved_ports");
  if (!text) return {};
  return parse_port_list(*text).value_or(std::vector<PortRange>{});
}

bool TimeWaitReuse::allows(const SocketRecord& socket) const {
  if (socket.state != TCP_TIME_WAIT || socket.timer_ms > kTimeWaitMs) return false;
  const bool loopback = is_loopback(socket.local.address) || is_loopback(socket.remote.address);
  return (mode == 1 || (mode == 2 && loopback)) && kTimeWaitMs - socket.timer_ms > min_age_ms;
}

TimeWaitReuse time_wait_reuse() {
  TimeWaitReuse reuse;
  if (read_sysctl("net/ipv4/tcp_timestamps").value_or(0) != 0) {
    reuse.mode = static_cast<int>(read_sysctl("net/ipv4/tcp_tw_reuse").value_or(0));
  }
  if (const auto delay = read_sysctl("net/ipv4/tcp_tw_reuse_delay"); delay && *delay >= 0) {
    reuse.min_age_ms = static_cast<std::uint32_t>(*delay);
  }
  return reuse;
}

}  // namespace portpool::kernel
