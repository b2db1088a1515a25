#include "support/far_side.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <exception>
#include <sstream>
#include <stdexcept>
#include <system_error>

#include "support/echo_server.h"
#include "support/private_net.h"
#include "support/process.h"

namespace portpool::test {
namespace {

void run(std::vector<std::string> command, const std::string& words) {
  std::istringstream stream(words);
  for (std::string word; stream >> word;) command.push_back(word);
  Process process(command);
  if (process.wait() != 0) throw std::runtime_error(words + ": " + process.err());
}

}  // namespace

void ip(const std::string& words) { run({"ip"}, words); }

namespace {

// Says one byte when everything listens.
[[noreturn]] void be_the_far_side(const std::vector<std::uint16_t>& ports,
                                  const FarSide::Settings& settings, int ready) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  try {
    PrivateNet net;
    // A packet may come by an uplink that the way back does not use.
    net.set_sysctl("net.ipv4.conf.all.rp_filter", "0");
    net.set_sysctl("net.ipv4.conf.default.rp_filter", "0");
    for (const auto& [name, value] : settings) net.set_sysctl(name, value);
    net.add_address("10.9.0.1/32");
    net.add_address("fd00:9::1/128");
    const EchoServer server(ports);
    if (write(ready, "r", 1) == 1) {
      for (;;) pause();
    }
  } catch (const std::exception& error) {
    static_cast<void>(!write(STDERR_FILENO, error.what(), std::string(error.what()).size()));
  }
  _exit(1);
}

void connect_uplinks(pid_t far) {
  const std::string pid = std::to_string(far);
  const std::vector<std::string> there{"nsenter", "-t", pid, "-n", "ip"};
  for (const std::string n : {"1", "2"}) {
    ip("link add u" + n + " type veth peer name u" + n + " netns " + pid);
    ip("address add 10." + n + ".0.1/24 dev u" + n);
    ip("address add fd00:" + n + "::1/64 dev u" + n + " nodad");
    ip("link set u" + n + " up");
    run(there, "address add 10." + n + ".0.2/24 dev u" + n);
    run(there, "address add fd00:" + n + "::2/64 dev u" + n + " nodad");
    run(there, "link set u" + n + " up");
    ip("route add 10.9.0.0/24 via 10." + n + ".0.2 dev u" + n + " metric " + n + "00");
    ip("-6 route add fd00:9::/64 via fd00:" + n + "::2 dev u" + n + " metric " + n + "00");
  }
  run(there, "route add 10.5.0.0/24 via 10.1.0.1 dev u1");
  run(there, "-6 route add fd00:5::/64 via fd00:1::1 dev u1");
  ip("route add 10.9.0.0/24 via 10.2.0.2 dev u2 src 10.2.0.1 table 100");
  ip("-6 route add fd00:9::/64 via fd00:2::2 dev u2 src fd00:2::1 table 100");
  await_addresses({"ip"});
  await_addresses(there);
}

}  // namespace

FarSide::FarSide(const std::vector<std::uint16_t>& ports, const Settings& settings) {
  int ready[2];
  if (pipe(ready) != 0) throw std::system_error(errno, std::generic_category(), "pipe");
  pid_ = fork();
  if (pid_ == 0) be_the_far_side(ports, settings, ready[1]);
  close(ready[1]);
  char byte = 0;
  const bool up = read(ready[0], &byte, 1) == 1;
  close(ready[0]);
  if (!up) throw std::runtime_error("the far side did not come up");
  connect_uplinks(pid_);
}

FarSide::~FarSide() {
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

}  // namespace portpool::test
