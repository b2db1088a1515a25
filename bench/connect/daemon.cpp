#include "daemon.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <thread>

#include "loopback.h"

namespace portpool::bench {
namespace {

constexpr auto kStartLimit = std::chrono::seconds(5);

}  // namespace

TemporaryDirectory::TemporaryDirectory() {
  char path[] = "/tmp/bench_connect.XXXXXX";
  if (::mkdtemp(path) == nullptr) throw std::runtime_error("cannot make a directory in /tmp");
  path_ = path;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

Daemon::Daemon(std::string program, const std::string& config_text)
    : program_(std::move(program)), socket_(directory_.path() + "/poold.sock") {
  // A configuration without settings: the machine's own must not change what is measured.
  const std::string config = directory_.path() + "/portpool.toml";
  std::ofstream(config) << "# the benchmark's own\n" << config_text;
  pid_ = ::fork();
  if (pid_ == 0) {
    die_with_parent();
    const int log = ::open(log_file().c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    ::dup2(log, STDERR_FILENO);
    ::execl(program_.c_str(), "poold", "serve", "--config", config.c_str(), "--socket",
            socket_.c_str(), nullptr);
    ::_exit(127);
  }
  try {
    wait_until_listening();
  } catch (...) {
    end();
    throw;
  }
}

Daemon::~Daemon() { end(); }

void Daemon::end() {
  if (pid_ > 0) {
    ::kill(pid_, SIGTERM);
    ::waitpid(pid_, nullptr, 0);
  }
  pid_ = -1;
}

void Daemon::wait_until_listening() {
  const auto end = std::chrono::steady_clock::now() + kStartLimit;
  while (!listening()) {
    if (::waitpid(pid_, nullptr, WNOHANG) == pid_) {
      pid_ = -1;
      std::ifstream log(log_file());
      throw std::runtime_error("poold serve ended at once: " +
                               std::string(std::istreambuf_iterator<char>(log), {}));
    }
    if (std::chrono::steady_clock::now() > end) {
      throw std::runtime_error("poold serve did not open its socket within 5 s");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

std::string Daemon::log_file() const { return directory_.path() + "/poold.log"; }

bool Daemon::listening() const {
  std::error_code ignored;
  return std::filesystem::is_socket(socket_, ignored);
}

nlohmann::json Daemon::status() const {
  const std::string command = "PORTPOOL_SOCKET='" + socket_ + "' '" + program_ + "' status --json";
  FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) throw std::runtime_error("cannot run poold status");
  std::string text;
  char chunk[4096];
  for (std::size_t got; (got = std::fread(chunk, 1, sizeof chunk, pipe)) > 0;) {
    text.append(chunk, got);
  }
  if (::pclose(pipe) != 0) throw std::runtime_error("poold status failed");
  return nlohmann::json::parse(text);
}

}  // namespace portpool::bench
