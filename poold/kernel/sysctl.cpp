#include "kernel/sysctl.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

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

std::string path_of(std::string_view name) { return "/proc/sys/" + std::string(name); }

template <class Value>
Answer<Value> unreadable(std::string_view name, const std::string& reason) {
  return Answer<Value>::unknown("cannot read " + path_of(name) + ": " + reason);
}

template <class Value>
Answer<Value> not_understood(std::string_view name, const std::string& text) {
  constexpr std::size_t kShown = 40;
  return unreadable<Value>(name, "not understood: \"" + text.substr(0, kShown) + "\"");
}

// Absent or unknown, as `other` is.
template <class Value, class Other>
Answer<Value> without_value(const Answer<Other>& other) {
  return other.is_known() ? Answer<Value>::absent() : Answer<Value>::unknown(other.why());
}

}  // namespace

Answer<std::string> read_sysctl_text(std::string_view name) {
  const std::string path = path_of(name);
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    const int error = errno;
    // Without its folder nothing can be said about the setting.
    const std::string folder = path.substr(0, path.rfind('/'));
    if (error == ENOENT && ::access(folder.c_str(), F_OK) == 0) {
      return Answer<std::string>::absent();
    }
    return unreadable<std::string>(name, std::strerror(error));
  }
  std::string text(kLargestSysctl, '\0');
  ssize_t size = 0;
  do {
    size = ::read(fd, text.data(), text.size());
  } while (size < 0 && errno == EINTR);
  const int error = errno;
  ::close(fd);
  if (size < 0) return unreadable<std::string>(name, std::strerror(error));
  text.resize(static_cast<std::size_t>(size));
  text.erase(text.find_last_not_of(kSpace) + 1);
  return text;
}

Answer<long> read_sysctl(std::string_view name) {
  const auto text = read_sysctl_text(name);
  if (!text) return without_value<long>(text);
  std::string_view rest = *text;
  const auto value = take_number<long>(rest);
  if (!value || !rest.empty()) return not_understood<long>(name, *text);
  return *value;
}

Answer<PortRange> local_port_range() {
  constexpr std::string_view kName = "net/ipv4/ip_local_port_range";
  const auto text = read_sysctl_text(kName);
  // There has been one since Linux 2.2.
  if (text.is_absent()) return unreadable<PortRange>(kName, std::strerror(ENOENT));
  if (!text) return without_value<PortRange>(text);
  std::string_view rest = *text;
  const auto low = take_number<std::uint16_t>(rest);
  rest.remove_prefix(std::min(rest.find_first_not_of(kSpace), rest.size()));
  const auto range = checked(low, take_number<std::uint16_t>(rest));
  if (!range || !rest.empty()) return not_understood<PortRange>(kName, *text);
  return *range;
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

Answer<std::vector<PortRange>> reserved_ports() {
  constexpr std::string_view kName = "net/ipv4/ip_local_reserved_ports";
  const auto text = read_sysctl_text(kName);
  if (!text) return without_value<std::vector<PortRange>>(text);
  auto ranges = parse_port_list(*text);
  if (!ranges) return not_understood<std::vector<PortRange>>(kName, *text);
  return *std::move(ranges);
}

bool TimeWaitReuse::allows(const SocketRecord& socket) const {
  if (socket.state != TCP_TIME_WAIT || socket.timer_ms > kTimeWaitMs) return false;
  const bool loopback = is_loopback(socket.local.address) || is_loopback(socket.remote.address);
  return (mode == 1 || (mode == 2 && loopback)) && kTimeWaitMs - socket.timer_ms > min_age_ms;
}

Answer<TimeWaitReuse> time_wait_reuse() {
  const auto timestamps = read_sysctl("net/ipv4/tcp_timestamps");
  if (!timestamps) return without_value<TimeWaitReuse>(timestamps);
  const auto mode = read_sysctl("net/ipv4/tcp_tw_reuse");
  if (!mode) return without_value<TimeWaitReuse>(mode);
  const auto delay = read_sysctl("net/ipv4/tcp_tw_reuse_delay");
  if (!delay.is_known()) return without_value<TimeWaitReuse>(delay);
  TimeWaitReuse reuse;
  reuse.mode = *timestamps != 0 ? static_cast<int>(*mode) : 0;
  if (delay && *delay >= 0) reuse.min_age_ms = static_cast<std::uint32_t>(*delay);
  return reuse;
}

}  // namespace portpool::kernel
