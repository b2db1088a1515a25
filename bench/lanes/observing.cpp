// What looking costs: a scrape of /metrics and a `poold status`, with 1,000 lanes.
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <stdexcept>

#include "figures.h"
#include "measurements.h"
#include "stage.h"

namespace portpool::bench {
namespace {

constexpr std::uint16_t kMetricsPort = 9481;
constexpr std::uint32_t kLanes = 1000;
// Room for all of them: poold makes room by retiring idle lanes when few places are left.
constexpr const char* kConfig = "metrics_listen = \"127.0.0.1:9481\"\nmax_lanes = 2048\n";

double ms_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
      .count();
}

// As Prometheus does it: connect, ask, read to the end.
std::size_t scrape() {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(kMetricsPort);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const Descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  constexpr std::string_view kRequest = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
  std::size_t size = 0;
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
      ::send(socket.get(), kRequest.data(), kRequest.size(), MSG_NOSIGNAL) ==
          static_cast<ssize_t>(kRequest.size())) {
    char chunk[65536];
    for (ssize_t got; (got = ::recv(socket.get(), chunk, sizeof chunk, 0)) > 0;) {
      size += static_cast<std::size_t>(got);
    }
  }
  return size;
}

// Runs `poold status`, its output thrown away. Its CPU time in ms.
double show_status(const std::string& poold, const std::string& socket) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::dup2(::open("/dev/null", O_WRONLY | O_CLOEXEC), STDOUT_FILENO);
    ::setenv("PORTPOOL_SOCKET", socket.c_str(), 1);
    ::execl(poold.c_str(), "poold", "status", nullptr);
    ::_exit(127);
  }
  int status = 0;
  rusage used{};
  if (pid < 0 || ::wait4(pid, &status, 0, &used) != pid || status != 0) {
    throw std::runtime_error("poold status failed");
  }
  const auto ms = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) * 1000 + static_cast<double>(time.tv_usec) / 1000;
  };
  return ms(used.ru_utime) + ms(used.ru_stime);
}

}  // namespace

nlohmann::json measure_observing(const LaneOptions& options) {
  Stage stage(options, kConfig);
  Worker worker(options.library, stage.daemon().socket());
  // A burst of requests for lanes may lose some: asked again until all are there.
  for (int round = 0; stage.daemon().status().at("lanes").size() < kLanes; ++round) {
    if (round == 200) throw std::runtime_error("the daemon makes too few lanes");
    worker.run({Job::touch_many, kLanes});
    ::usleep(100'000);
  }
  const int rounds = options.quick ? 10 : 100;
  std::vector<double> scrapes;
  std::vector<double> statuses;
  std::vector<double> status_cpu;
  std::size_t size = 0;
  // In turn, so that whatever disturbs the machine disturbs both.
  for (int i = 0; i < rounds; ++i) {
    auto start = std::chrono::steady_clock::now();
    size = scrape();
    scrapes.push_back(ms_since(start));
    start = std::chrono::steady_clock::now();
    status_cpu.push_back(show_status(options.poold, stage.daemon().socket()));
    statuses.push_back(ms_since(start));
  }
  if (size < 1000) throw std::runtime_error("no metrics were served");
  nlohmann::json figures = nlohmann::json::array();
  add_figure(figures, "lanes", static_cast<double>(stage.daemon().status().at("lanes").size()), "");
  add_figure(figures, "size of a scrape", static_cast<double>(size) / 1024, "KiB");
  add_goal(figures, "scrape of /metrics, median", median(scrapes), "ms", 20, false);
  add_figure(figures, "scrape of /metrics, p90", quantile(scrapes, 0.9), "ms");
  add_goal(figures, "poold status, median", median(statuses), "ms", 20, false);
  add_figure(figures, "poold status, CPU time, median", median(status_cpu), "ms");
  add_figure(figures, "poold status, p90", quantile(statuses, 0.9), "ms");
  return figures;
}

}  // namespace portpool::bench
