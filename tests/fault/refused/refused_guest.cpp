// The guests whose system calls are refused: what a program sees of its sockets, line by line, in
// words that do not depend on which port it was.
//
//   refused CALL MOMENT STRATEGY PORT [NAME]
//                                   each refusal of that call (or the one of that name) in a child
//                                   of its own, after a line "== NAME". MOMENT: "unseen", "seen"
//                                   (refusal.h; both when the child has sockets of all kinds),
//                                   "before" (it is exec()ed then). PORT and those above it are
//                                   bound by their number, one each
//   refused_from_start STRATEGY PORT
//                                   such a child, which is refused already
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "fault/refused/refusal.h"
#include "portpool/linux.h"
#include "support/guest.h"
#include "support/sockets.h"
#include "system/integration/common.h"

namespace portpool::test {
namespace {

constexpr unsigned kPatienceSeconds = 30;
constexpr int kMostDescriptors = 64;
constexpr int kFirstFixedPort = 10000;
// What errno is before each call: a call that succeeds leaves it alone.
constexpr int kErrnoBefore = ENOTBLK;

const SocketAddress& echo() {
  static const SocketAddress address(kEcho);
  return address;
}
const SocketAddress& other_echo() {
  static const SocketAddress address(kOtherEcho);
  return address;
}
const SocketAddress& nobody() {
  static const SocketAddress address("127.0.0.1:9009");
  return address;
}
const SocketAddress& any_port() {
  static const SocketAddress address("127.0.0.1:0");
  return address;
}

std::string outcome(int result) {
  if (result < 0) return error_name(errno);
  return errno == kErrnoBefore ? "ok" : "ok, and errno is " + error_name(errno);
}

template <class Call>
bool tell(const std::string& what, Call call) {
  errno = kErrnoBefore;
  const int result = call();
  say(what + ": " + outcome(result));
  return result >= 0;
}

// Without the port itself, which is another each time.
std::string shape(const SocketAddress& address) {
  if (address.family() == 0) return "none";
  const int port = address.port();
  const bool in_range = port >= kLowPort && port <= kHighPort;
  const bool fixed = port >= kFirstFixedPort && port < kLowPort;
  const std::string text = address.text();
  if (!in_range && !fixed) return text;
  return text.substr(0, text.rfind(':')) + (fixed ? ":its own port" : ":a port of the range");
}

// One socket, and what its program knows of it.
class Watched {
 public:
  Watched(std::string name, int family = AF_INET, int flags = 0) : name_(std::move(name)) {
    tell(name_ + " socket", [&] { return fd_ = tcp_socket(family, flags); });
  }

  int fd() const { return fd_; }

  void bind_to(const SocketAddress& address) {
    bound_ |= tell(name_ + " bind", [&] { return bind(fd_, address.raw(), address.length); });
  }
  // The port that it is told holds from a bind() on, whatever comes after.
  void ask_name() {
    SocketAddress own;
    own.length = sizeof own.storage;
    const bool told =
        tell(name_ + " getsockname", [&] { return getsockname(fd_, own.raw(), &own.length); });
    say(name_ + " is " + shape(own));
    if (!told) return;
    if (bound_ && told_ != 0)
      say(name_ + (own.port() == told_ ? " keeps" : " changes") + " its port");
    told_ = own.port();
  }
  void ask_peer() {
    SocketAddress peer;
    peer.length = sizeof peer.storage;
    tell(name_ + " getpeername", [&] { return getpeername(fd_, peer.raw(), &peer.length); });
    say(name_ + " reaches " + shape(peer));
  }
  void ask_options() {
    ask_option("SO_REUSEADDR", SOL_SOCKET, SO_REUSEADDR);
    ask_option("SO_LINGER", SOL_SOCKET, SO_LINGER);
    ask_option("SO_ERROR", SOL_SOCKET, SO_ERROR);
    ask_option("IP_LOCAL_PORT_RANGE", IPPROTO_IP, IP_LOCAL_PORT_RANGE);
    ask_option("IP_BIND_ADDRESS_NO_PORT", IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT);
    say(name_ + " flags " + std::to_string(fcntl(fd_, F_GETFL)) + ", of the descriptor " +
        std::to_string(fcntl(fd_, F_GETFD)));
  }
  void set_option(const char* what, int level, int number, int value) {
    tell(name_ + " sets " + what,
         [&] { return setsockopt(fd_, level, number, &value, sizeof value); });
  }
  void connect_to(const SocketAddress& destination) {
    connected_ = tell(name_ + " connect",
                      [&] { return connect(fd_, destination.raw(), destination.length); });
    if (errno != EINPROGRESS) return;
    const int error = finish_connect(fd_);
    say(name_ + " ends with " + error_name(error));
    connected_ = error == 0 && peer_address(fd_).family() != 0;
  }
  void talk() {
    if (connected_) say(name_ + (echo_round_trip(fd_) ? " echoes" : " WRONG ECHO"));
  }
  void close_it() {
    tell(name_ + " close", [&] { return close(fd_); });
  }

  void look() {
    ask_name();
    ask_peer();
    ask_options();
    talk();
  }
  void connect_and_look(const SocketAddress& destination) {
    connect_to(destination);
    look();
  }

 private:
  void ask_option(const char* what, int level, int number) {
    unsigned value[2] = {};
    socklen_t length = sizeof value;
    tell(name_ + " " + what, [&] { return getsockopt(fd_, level, number, value, &length); });
    say(name_ + " has " + std::to_string(value[0]) + " " + std::to_string(value[1]) + ", " +
        std::to_string(length) + " bytes");
  }

  std::string name_;
  int fd_ = -1;
  bool bound_ = false;
  bool connected_ = false;
  std::uint16_t told_ = 0;
};

// Sockets in each state that a refusal may find one in.
struct Prepared {
  Watched connected{"connected"};
  Watched nonblocking{"nonblocking", AF_INET, SOCK_NONBLOCK};
  Watched fresh{"fresh"};
  Watched v6{"v6", AF_INET6};
  Watched bound{"bound"};
  Watched named{"named"};
  Watched named_other{"named_other"};
  Watched sharing{"sharing"};
  Watched listening{"listening"};
  Watched refused{"refused"};
  Watched fixed{"fixed"};

  explicit Prepared(int fixed_port) {
    connected.connect_and_look(echo());
    nonblocking.connect_to(echo());
    bound.bind_to(any_port());
    named.bind_to(any_port());
    named.ask_name();
    named_other.bind_to(any_port());
    named_other.ask_name();
    sharing.set_option("SO_REUSEADDR", SOL_SOCKET, SO_REUSEADDR, 1);
    sharing.bind_to(any_port());
    sharing.ask_name();
    listening.bind_to(any_port());
    refused.connect_to(nobody());
    fixed.bind_to(SocketAddress("127.0.0.1:" + std::to_string(fixed_port)));
  }
};

void accept_one(Watched& listener) {
  tell("listen", [&] { return listen(listener.fd(), 5); });
  listener.ask_name();
  Watched client("client");
  client.connect_to(local_address(listener.fd()));
  if (peer_address(client.fd()).family() != 0) {
    const int accepted = accept4(listener.fd(), nullptr, nullptr, SOCK_CLOEXEC);
    unsigned range = 0;
    socklen_t length = sizeof range;
    getsockopt(accepted, IPPROTO_IP, IP_LOCAL_PORT_RANGE, &range, &length);
    say("accepted with range " + std::to_string(range));
    close(accepted);
  }
  client.close_it();
  listener.ask_options();
  listener.close_it();
}

void use(Prepared& sockets, bool dissolves) {
  sockets.connected.look();
  if (dissolves) {
    // connect(2): AF_UNSPEC dissolves.
    const sockaddr nowhere{};
    tell("dissolve", [&] { return connect(sockets.connected.fd(), &nowhere, sizeof nowhere); });
    sockets.connected.connect_and_look(echo());
  }
  sockets.connected.close_it();
  sockets.nonblocking.look();
  tell("shutdown", [&] { return shutdown(sockets.nonblocking.fd(), SHUT_RDWR); });
  sockets.nonblocking.close_it();
  sockets.fresh.connect_and_look(echo());
  // Already connected.
  sockets.fresh.connect_to(echo());
  sockets.fresh.close_it();
  sockets.v6.connect_and_look(SocketAddress("[::1]:9001"));
  sockets.v6.close_it();
  sockets.bound.ask_name();
  sockets.bound.bind_to(any_port());
  sockets.bound.connect_and_look(echo());
  sockets.bound.close_it();
  sockets.named.connect_and_look(other_echo());
  sockets.named.close_it();
  sockets.named_other.ask_options();
  sockets.named_other.connect_and_look(echo());
  sockets.named_other.close_it();
  sockets.sharing.ask_options();
  sockets.sharing.connect_and_look(echo());
  sockets.sharing.close_it();
  accept_one(sockets.listening);
  sockets.refused.connect_to(nobody());
  sockets.refused.connect_and_look(echo());
  sockets.refused.close_it();
  sockets.fixed.connect_and_look(echo());
  sockets.fixed.close_it();
}

void make_new_ones() {
  Watched plain("new");
  plain.connect_and_look(echo());
  plain.close_it();
  Watched nonblocking("new nonblocking", AF_INET, SOCK_NONBLOCK);
  nonblocking.connect_and_look(other_echo());
  nonblocking.close_it();
  Watched v6("new v6", AF_INET6, SOCK_NONBLOCK);
  v6.connect_and_look(SocketAddress("[::1]:9001"));
  v6.close_it();
  Watched bound("new bound");
  bound.bind_to(any_port());
  bound.connect_and_look(echo());
  bound.close_it();
  for (const SocketAddress& destination : {echo(), other_echo()}) {
    Watched named("new named");
    named.set_option("SO_REUSEADDR", SOL_SOCKET, SO_REUSEADDR, 1);
    named.bind_to(any_port());
    named.ask_name();
    named.connect_and_look(destination);
    named.close_it();
  }
  Watched again("new again");
  again.connect_to(nobody());
  again.ask_options();
  again.connect_and_look(echo());
  again.close_it();
  Watched listening("new listening");
  listening.bind_to(any_port());
  accept_one(listening);
  Watched reset("new reset");
  reset.connect_and_look(echo());
  tell("linger", [&] {
    const linger at_once{1, 0};
    return setsockopt(reset.fd(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  });
  reset.close_it();
  Watched twice("new twice");
  const int copy = dup(twice.fd());
  twice.connect_and_look(echo());
  close(copy);
  twice.close_it();
  const pid_t child = fork();
  if (child == 0) {
    Watched inherited("the child's");
    inherited.connect_and_look(echo());
    inherited.close_it();
    _exit(0);
  }
  waitpid(child, nullptr, 0);
}

void list_descriptors() {
  std::string open;
  for (int fd = 0; fd < kMostDescriptors; ++fd) {
    if (fcntl(fd, F_GETFD) >= 0) open += " " + std::to_string(fd);
  }
  say("open:" + open);
}

// With the bind strategy a socket stays on its port, and says so after it was dissolved.
bool dissolves(const std::string& strategy) { return strategy != "bind"; }

template <class Work>
void in_child(Work work) {
  const pid_t child = fork();
  CHECK_THAT(child >= 0);
  if (child == 0) {
    alarm(kPatienceSeconds);
    work();
    _exit(0);
  }
  int status = 0;
  CHECK_THAT(waitpid(child, &status, 0) == child);
  say("status " + std::to_string(status));
}

}  // namespace

GUEST(refused_from_start) {
  Prepared sockets(std::stoi(arguments.at(1)));
  use(sockets, dissolves(arguments.at(0)));
  make_new_ones();
  list_descriptors();
}

GUEST(refused) {
  const std::string& moment = arguments.at(1);
  int port = std::stoi(arguments.at(3));
  for (const Refusal& refusal : refusals_of(arguments.at(0))) {
    if (arguments.size() > 4 && refusal.name != arguments[4]) continue;
    say("== " + refusal.name);
    in_child([&] {
      if (moment == "before") {
        refuse(refusal, Sight::unseen);
        become_guest("refused_from_start", {arguments.at(2), std::to_string(port)});
      }
      Prepared sockets(port);
      refuse(refusal, moment == "seen" ? Sight::seen : Sight::unseen);
      use(sockets, dissolves(arguments.at(2)));
      make_new_ones();
      list_descriptors();
    });
    ++port;
  }
}

}  // namespace portpool::test
