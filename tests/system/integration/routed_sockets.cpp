#include "system/integration/routed_sockets.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <map>
#include <stdexcept>
#include <vector>

#include "support/eventually.h"

#ifndef SO_BINDTOIFINDEX
#define SO_BINDTOIFINDEX 62
#endif

namespace portpool::test {
namespace {

void set_option(int fd, int level, int name, const void* value, socklen_t length, bool unseen) {
  CHECK_THAT((unseen ? syscall(SYS_setsockopt, fd, level, name, value, length)
                     : setsockopt(fd, level, name, value, length)) == 0);
}

void set_number(int fd, int level, int name, int value, bool unseen) {
  set_option(fd, level, name, &value, sizeof value, unseen);
}

std::string value_of(const std::string& option) { return option.substr(option.find('=') + 1); }

int new_socket(const SocketAddress& destination, const std::string& option,
               const std::string& way) {
  const int fd = tcp_socket(destination.family(), way == "nonblocking" ? SOCK_NONBLOCK : 0);
  CHECK_THAT(fd >= 0);
  // One that gets no answer shall not take a minute.
  set_number(fd, IPPROTO_TCP, TCP_SYNCNT, 1, true);
  const int other = way == "duplicate" ? dup(fd) : -1;
  apply_option(option, other >= 0 ? other : fd, way == "unseen");
  if (other >= 0) close(other);
  return fd;
}

int connect_one(int fd, const SocketAddress& destination) {
  const int error = connect_error(fd, destination);
  return error == EINPROGRESS ? finish_connect(fd) : error;
}

}  // namespace

void apply_option(const std::string& option, int fd, bool unseen) {
  const std::string value = value_of(option);
  if (option.starts_with("mark=")) {
    set_number(fd, SOL_SOCKET, SO_MARK, std::stoi(value), unseen);
  } else if (option.starts_with("device=")) {
    set_option(fd, SOL_SOCKET, SO_BINDTODEVICE, value.c_str(),
               static_cast<socklen_t>(value.size() + 1), unseen);
  } else if (option.starts_with("index=")) {
    set_number(fd, SOL_SOCKET, SO_BINDTOIFINDEX, static_cast<int>(if_nametoindex(value.c_str())),
               unseen);
  } else if (option.starts_with("unicast=")) {
    set_number(fd, IPPROTO_IP, IP_UNICAST_IF,
               static_cast<int>(htonl(if_nametoindex(value.c_str()))), unseen);
  } else if (option.starts_with("tos=")) {
    set_number(fd, IPPROTO_IP, IP_TOS, std::stoi(value), unseen);
  }
}

void apply_to_process(const std::string& option) {
  if (!option.starts_with("uid=")) return;
  const auto uid = static_cast<uid_t>(std::stoi(value_of(option)));
  CHECK_THAT(setresuid(uid, uid, uid) == 0);
}

std::string host_of(const SocketAddress& address) {
  const std::string text = address.text();
  return text.substr(0, text.rfind(':'));
}

Routed connect_routed(const SocketAddress& destination, const std::string& option,
                      const std::string& way) {
  const int fd = new_socket(destination, option, way);
  return {fd, connect_one(fd, destination)};
}

std::string RoutedClient::connect(int count) {
  begin(count);
  std::string answer;
  const bool answered = eventually([&] {
    const std::string out = process_.out();
    const std::size_t end = out.find("end\n", read_);
    if (end == std::string::npos) return false;
    answer = out.substr(read_, end - read_);
    read_ = end + 4;
    return true;
  });
  if (!answered) throw std::runtime_error("no answer: " + process_.out() + process_.err());
  return answer;
}

GUEST(routed) {
  const SocketAddress destination(arguments.at(0));
  const std::string& option = arguments.at(1);
  const std::string& way = arguments.at(2);
  if (arguments.size() > 3) std::ofstream(arguments.at(3) + "/cgroup.procs") << getpid();
  std::vector<int> ready;
  if (way == "dropped") {
    for (int i = 0; i < 300; ++i) ready.push_back(new_socket(destination, option, way));
    apply_to_process("uid=1000");
  }
  apply_to_process(option);
  for (;;) {
    std::map<std::string, int> ends;
    for (int left = std::stoi(await_line()); left > 0; --left) {
      Routed routed{-1, 0};
      if (way == "dropped") {
        CHECK_THAT(!ready.empty());
        routed.fd = ready.back();
        ready.pop_back();
        routed.error = connect_one(routed.fd, destination);
      } else {
        routed = connect_routed(destination, option, way);
      }
      if (routed.error == 0) CHECK_THAT(echo_round_trip(routed.fd));
      ++ends[error_name(routed.error) +
             (routed.error == 0 ? " " + host_of(local_address(routed.fd)) : "")];
      close_with_reset(routed.fd);
    }
    for (const auto& [end, count] : ends) say(std::to_string(count) + " " + end);
    say("end");
  }
}

}  // namespace portpool::test
