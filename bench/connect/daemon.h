// A poold of our own for the arm that uses it.
#pragma once

#include <sys/types.h>

#include <nlohmann/json.hpp>
#include <string>

namespace portpool::bench {

// A directory in /tmp that goes with the object, also when a constructor around it throws.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

class Daemon {
 public:
  // Starts `poold serve` and waits until it listens. `config` is the text of its configuration.
  // Throws std::runtime_error after 5 s.
  explicit Daemon(std::string program, const std::string& config = "");
  ~Daemon();
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  const std::string& socket() const { return socket_; }

  // What `poold status --json` says. Throws std::runtime_error.
  nlohmann::json status() const;

 private:
  void wait_until_listening();
  bool listening() const;
  void end();
  std::string log_file() const;

  std::string program_;
  TemporaryDirectory directory_;
  std::string socket_;
  pid_t pid_ = -1;
};

}  // namespace portpool::bench
