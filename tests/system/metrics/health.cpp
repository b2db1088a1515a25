// /healthz and /readyz of a real poold, as curl sees them.
#include <gtest/gtest.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>

#include "system/integration/common.h"
#include "system/metrics/http_get.h"

namespace portpool::test {
namespace {

namespace fs = std::filesystem;

const std::string kMetrics = "127.0.0.1:9481";
const std::string kSource = "10.0.0.5";

// "200 ok\n": status and body.
std::string curl(const std::string& page, std::vector<std::string> options = {}) {
  std::vector<std::string> words{"curl", "-sS", "-w", "\n%{http_code}",
                                 "http://" + kMetrics + page};
  words.insert(words.end(), options.begin(), options.end());
  Process process(words, {"http_proxy", "no_proxy"});
  EXPECT_EQ(process.wait(), 0) << process.err();
  const std::string out = process.out();
  const std::size_t end = out.rfind('\n');
  return out.substr(end + 1) + " " + out.substr(0, end);
}

// Threads of another process that stand still while the others go on.
class Held {
 public:
  explicit Held(pid_t thread) : thread_(thread) {
    EXPECT_EQ(ptrace(PTRACE_SEIZE, thread, nullptr, nullptr), 0);
    EXPECT_EQ(ptrace(PTRACE_INTERRUPT, thread, nullptr, nullptr), 0);
    EXPECT_EQ(waitpid(thread, nullptr, __WALL), thread);
  }
  ~Held() { EXPECT_EQ(ptrace(PTRACE_DETACH, thread_, nullptr, nullptr), 0); }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;

 private:
  pid_t thread_;
};

std::set<pid_t> threads_of(pid_t pid) {
  std::set<pid_t> threads;
  for (const auto& entry : fs::directory_iterator("/proc/" + std::to_string(pid) + "/task")) {
    threads.insert(std::stoi(entry.path().filename()));
  }
  return threads;
}

class Health : public EchoNet {
 protected:
  Health() {
    net.add_address(kSource + "/32");
    poold = std::make_unique<Poold>("metrics_listen = \"" + kMetrics +
                                    "\"\n[[pool]]\nname = \"edge\\u001b[31m\"\nsources = [\"" +
                                    kSource + "\"]\n");
    EXPECT_TRUE(metrics_answer_at(kMetrics));
  }
  static bool eventually_ready(const std::string& answer) {
    std::string last;
    const bool met = eventually([&] { return (last = curl("/readyz")).find(answer) == 0; });
    EXPECT_TRUE(met) << last;
    return met;
  }

  std::unique_ptr<Poold> poold;
};

TEST_F(Health, IsGoodInAPooldThatServes) {
  EXPECT_EQ(curl("/healthz"), "200 ok\n");
  EXPECT_TRUE(eventually_ready("200 ok\n"));
  for (const char* page : {"/healthz", "/readyz"}) {
    EXPECT_EQ(curl(std::string(page) + "?verbose=1"), "200 ok\n");
    const std::string head = curl(page, {"--head"});
    EXPECT_EQ(head.find("200 HTTP/1.1 200 OK"), 0U) << head;
    EXPECT_NE(head.find("Content-Length: 3\r\n"), std::string::npos) << head;
    EXPECT_EQ(curl(page, {"--data", "x"}).find("405 "), 0U);
    EXPECT_EQ(curl(std::string(page) + "/x").find("404 "), 0U);
    EXPECT_NE(http_get(kMetrics, "/").body.find("href=\"" + std::string(page) + "\""),
              std::string::npos);
  }
}

// The pages' thread is another one than the loop's, and goes on answering.
TEST_F(Health, TellsOfAnEventLoopThatHangs) {
  EXPECT_TRUE(eventually_ready("200 "));
  {
    const Held loop(poold->process().pid());
    EXPECT_TRUE(eventually([] { return curl("/healthz").starts_with("503 "); }));
    for (const char* page : {"/healthz", "/readyz"}) {
      const std::string answer = curl(page);
      EXPECT_EQ(answer.find("503 the event loop has not come round for "), 0U) << answer;
      EXPECT_EQ(std::count(answer.begin(), answer.end(), '\n'), 1) << answer;
      const std::string head =
          http_exchange(kMetrics, "HEAD " + std::string(page) + " HTTP/1.1\r\nHost: x\r\n\r\n")
              .head;
      EXPECT_EQ(head.find("HTTP/1.1 503 Service Unavailable"), 0U) << head;
    }
  }
  EXPECT_TRUE(eventually([] { return curl("/healthz") == "200 ok\n"; }));
  EXPECT_TRUE(eventually_ready("200 "));
}

TEST_F(Health, NotReadyWithoutAnySourceOfAPool) {
  EXPECT_TRUE(eventually_ready("200 "));
  net.remove_address(kSource + "/32");
  EXPECT_TRUE(eventually_ready("503 pool edge?[31m: none of its sources is on this host\n"));
  EXPECT_EQ(curl("/healthz"), "200 ok\n");
  net.add_address(kSource + "/32");
  EXPECT_TRUE(eventually_ready("200 "));
}

TEST_F(Health, NotReadyWhereNobodyCanComeIn) {
  EXPECT_TRUE(eventually_ready("200 "));
  const std::string other = poold->socket() + ".other";
  std::ofstream(other) << "no socket";
  fs::rename(other, poold->socket());
  EXPECT_TRUE(eventually_ready("503 " + poold->socket() + " exists and is not a socket"));
  EXPECT_EQ(curl("/healthz"), "200 ok\n");
  fs::remove(poold->socket());
  EXPECT_TRUE(eventually_ready("200 "));
}

// A reading of the kernel's table that does not end: it has a thread of its own, which is held.
// Which one that is shows: with another one of those beside the loop held, the reading goes on.
TEST_F(Health, NotReadyWhenTheKernelsTableIsNotRead) {
  EXPECT_TRUE(eventually_ready("200 "));
  std::set<pid_t> threads = threads_of(poold->process().pid());
  // Neither the loop nor the pages' thread, which begins last.
  threads.erase(poold->process().pid());
  threads.erase(*threads.rbegin());
  ASSERT_GE(threads.size(), 3U);
  // Those that stand before it are the log's and the heart's.
  const Held walker(*std::next(threads.begin(), 2));
  EXPECT_TRUE(
      eventually_ready("503 the kernel's socket table: a reading of it has not ended for "));
  EXPECT_EQ(curl("/healthz"), "200 ok\n");
}

}  // namespace
}  // namespace portpool::test
