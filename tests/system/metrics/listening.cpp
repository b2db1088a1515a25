// metrics_listen: where it listens, what it refuses, and that nobody who asks can hold poold up.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <fstream>

#include "base/descriptor.h"
#include "system/integration/common.h"
#include "system/metrics/exposition.h"
#include "system/metrics/http_get.h"

namespace portpool::test {
namespace {

std::string listen_on(const std::string& place) { return "metrics_listen = \"" + place + "\"\n"; }

int status_of(const std::string& address, const std::string& request) {
  return http_exchange(address, request).status;
}

std::string refusal_of(const std::string& place) {
  const TempDir directory;
  const std::string config = directory.write("poold.toml", listen_on(place));
  Process process({poold_path(), "serve", "--socket", directory.file("s"), "--config", config});
  EXPECT_EQ(process.wait(), 2) << process.err();
  return process.err();
}

TEST_F(EchoNet, OffByDefaultAndWhenEmpty) {
  for (const char* config : {"", "metrics_listen = \"\"\n"}) {
    const Poold poold(config);
    EXPECT_EQ(http_get("127.0.0.1:9481", "/metrics").status, 0) << config;
  }
}

TEST_F(EchoNet, AnswersOnlyWhatItKnows) {
  const std::string here = "127.0.0.1:9481";
  const Poold poold(listen_on(here));
  EXPECT_TRUE(metrics_answer_at(here));
  const HttpAnswer page = http_get(here, "/metrics");
  EXPECT_EQ(page.status, 200);
  EXPECT_NE(page.head.find("Content-Type: text/plain; version=0.0.4"), std::string::npos);
  EXPECT_NE(page.head.find("Content-Length: " + std::to_string(page.body.size())),
            std::string::npos);
  EXPECT_EQ(http_get(here, "/").status, 200);
  EXPECT_EQ(http_get(here, "/metrics?name=x").status, 200);
  EXPECT_EQ(http_get(here, "/metricsandmore").status, 404);
  EXPECT_EQ(http_get(here, "/../etc/passwd").status, 404);
  const HttpAnswer head = http_exchange(here, "HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.body, "");
  EXPECT_EQ(status_of(here, "POST /metrics HTTP/1.1\r\n\r\n"), 405);
  EXPECT_EQ(status_of(here, "nonsense\r\n\r\n"), 400);
  EXPECT_EQ(status_of(here, "GET /metrics\r\n\r\n"), 400);
  EXPECT_EQ(status_of(here, " \r\n\r\n"), 400);
  EXPECT_EQ(status_of(here, "\r\n\r\n"), 400);
  EXPECT_EQ(status_of(here, std::string(8193, 'x')), 431);
  EXPECT_EQ(http_get(here, "/metrics").status, 200);
}

TEST_F(EchoNet, ListensOnIpv6) {
  const Poold poold(listen_on("[::1]:9481"));
  EXPECT_TRUE(metrics_answer_at("[::1]:9481"));
  EXPECT_EQ(http_get("127.0.0.1:9481", "/metrics").status, 0);
}

TEST_F(EchoNet, AddressInUseOrForeignOrMalformedIsRefused) {
  const std::string in_use = refusal_of("127.0.0.1:9001");
  EXPECT_NE(in_use.find("127.0.0.1:9001"), std::string::npos) << in_use;
  EXPECT_NE(in_use.find("Address already in use"), std::string::npos) << in_use;
  const std::string foreign = refusal_of("192.0.2.1:9481");
  EXPECT_NE(foreign.find("192.0.2.1:9481"), std::string::npos) << foreign;
  EXPECT_NE(foreign.find("choose an address of this host"), std::string::npos) << foreign;
  for (const char* place : {"localhost:9481", "127.0.0.1", "127.0.0.1:", ":9481", "9481",
                            "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:9481 ", "::1:9481",
                            "[::1]", "[127.0.0.1]:9481", "127.0.0.1:-1"}) {
    const std::string message = refusal_of(place);
    EXPECT_NE(message.find("poold.toml:1:18: \"" + std::string(place) + "\" is not an address"),
              std::string::npos)
        << message;
  }
}

TEST_F(EchoNet, ReloadMovesItAndKeepsTheOldOneWhenTheNewIsRefused) {
  Poold poold(listen_on("127.0.0.1:9481"));
  const auto reload_with = [&](const std::string& text) {
    std::ofstream(poold.config_path()) << text;
    poold.process().signal(SIGHUP);
  };
  const auto reloaded_well_is = [](const char* address, double expected) {
    return eventually([&] {
      const HttpAnswer answer = http_get(address, "/metrics");
      return answer.status == 200 &&
             Exposition(answer.body).value("portpool_config_last_reload_successful") == expected;
    });
  };
  EXPECT_TRUE(metrics_answer_at("127.0.0.1:9481"));
  reload_with(listen_on("127.0.0.1:9482"));
  EXPECT_TRUE(metrics_answer_at("127.0.0.1:9482"));
  EXPECT_TRUE(eventually([] { return http_get("127.0.0.1:9481", "/metrics").status == 0; }));
  // In use by the echo server; nothing else of that file is taken either.
  reload_with(listen_on("127.0.0.1:9001") + "mode = \"observe\"\n");
  EXPECT_TRUE(reloaded_well_is("127.0.0.1:9482", 0)) << poold.process().err();
  EXPECT_EQ(poold.status().at("daemon").at("mode"), "pool");
  EXPECT_TRUE(eventually([&] {
    return poold.process().err().find("the old configuration stays in force") != std::string::npos;
  }));
  // The same port of another address.
  reload_with(listen_on("0.0.0.0:9482"));
  EXPECT_TRUE(metrics_answer_at("127.0.0.2:9482")) << poold.process().err();
  EXPECT_TRUE(reloaded_well_is("127.0.0.2:9482", 1));
  reload_with(listen_on("192.0.2.1:9482"));
  EXPECT_TRUE(reloaded_well_is("127.0.0.2:9482", 0)) << poold.process().err();
  reload_with("mode = \"nonsense\"\n" + listen_on("127.0.0.1:9483"));
  reload_with("");
  EXPECT_TRUE(eventually([] { return http_get("127.0.0.2:9482", "/metrics").status == 0; }))
      << poold.process().err();
}

TEST_F(EchoNet, TakesTheAbsoluteFormOfATarget) {
  const std::string here = "127.0.0.1:9481";
  const Poold poold(listen_on(here));
  EXPECT_TRUE(metrics_answer_at(here));
  const auto status_for = [&](const std::string& target) {
    return status_of(here, "GET " + target + " HTTP/1.1\r\nHost: x\r\n\r\n");
  };
  EXPECT_EQ(status_for("http://127.0.0.1:9481/metrics"), 200);
  EXPECT_EQ(status_for("HTTP://some.host/metrics?x=/y"), 200);
  EXPECT_EQ(status_for("http://some.host"), 200);
  EXPECT_EQ(status_for("http://some.host?metrics"), 200);
  EXPECT_EQ(status_for("http://some.host/other"), 404);
  EXPECT_EQ(status_for("http://"), 404);
  EXPECT_EQ(status_for("https://some.host/metrics"), 404);
  EXPECT_EQ(status_for("*"), 404);
}

// What was not read when the answer goes out must not turn the answer into a reset.
TEST_F(EchoNet, AnswersThoseWhoSendMoreThanIsRead) {
  const std::string here = "127.0.0.1:9481";
  const Poold poold(listen_on(here));
  EXPECT_TRUE(metrics_answer_at(here));
  const std::string much(300'000, 'x');
  const auto expect_status = [&](const std::string& request, int status) {
    const HttpAnswer answer = http_exchange(here, request + much);
    EXPECT_EQ(answer.status, status) << request;
    EXPECT_FALSE(answer.reset) << request;
  };
  expect_status("GET /metrics HTTP/1.1\r\n\r\n", 200);
  expect_status("POST /metrics HTTP/1.1\r\n\r\n", 405);
  expect_status("GET /", 431);
}

// Whatever comes after the request is not a second one, and a body is nothing that is asked for.
TEST_F(EchoNet, OneAnswerForEachConnectionHoweverItIsAsked) {
  const std::string here = "127.0.0.1:9481";
  const Poold poold(listen_on(here));
  EXPECT_TRUE(metrics_answer_at(here));
  const Descriptor slow(connected_socket(SocketAddress(here)));
  for (const char c : std::string("HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n")) {
    ASSERT_EQ(send(slow.get(), &c, 1, MSG_NOSIGNAL), 1);
    EXPECT_EQ(http_get(here, "/none").status, 404) << "while the other is not ready";
  }
  std::string head(64, '\0');
  EXPECT_GT(recv(slow.get(), head.data(), head.size(), 0), 0);
  EXPECT_TRUE(head.starts_with("HTTP/1.1 200 OK\r\n")) << head;
  for (const char* request : {"GET /none HTTP/1.1\r\n\r\nGET /none HTTP/1.1\r\n\r\n\x16\x03\x01",
                              "HEAD /none HTTP/1.1\r\nConnection: keep-alive\r\n\r\n",
                              "GET /none HTTP/1.1\r\nContent-Length: 7\r\n\r\nGET / H",
                              "PUT / HTTP/1.1\r\n\r\n", "\x16\x03\x01\r\n\r\n"}) {
    const HttpAnswer answer = http_exchange(here, request);
    EXPECT_NE(answer.status, 0) << request;
    EXPECT_FALSE(answer.reset) << request;
    EXPECT_NE(answer.head.find("Connection: close"), std::string::npos) << request;
    EXPECT_EQ(answer.body.find("HTTP/"), std::string::npos) << request;
  }
  const std::string long_header(9000, 'x');
  EXPECT_EQ(status_of(here, "GET /metrics HTTP/1.1\r\nX: " + long_header + "\r\n\r\n"), 431);
}

TEST_F(EchoNet, CurlIsServed) {
  const std::string here = "127.0.0.1:9481";
  const Poold poold(listen_on(here));
  EXPECT_TRUE(metrics_answer_at(here));
  const TempDir folder;
  const std::string body = folder.write("body", std::string(500'000, 'x'));
  const auto curl = [&](std::vector<std::string> options) {
    std::vector<std::string> words{"curl", "-sS", "-w", "%{http_code}", "-o", "/dev/null"};
    words.insert(words.end(), options.begin(), options.end());
    Process process(words, {"http_proxy", "no_proxy"});
    const int status = process.wait();
    return std::to_string(status) + " " + process.out() + process.err();
  };
  const std::string url = "http://" + here + "/metrics";
  EXPECT_EQ(curl({url}), "0 200");
  EXPECT_EQ(curl({"--head", url}), "0 200");
  EXPECT_EQ(curl({"--http1.0", url + "?name=x"}), "0 200");
  // As it asks a proxy.
  EXPECT_EQ(curl({"-x", "http://" + here, "http://some.host/metrics"}), "0 200");
  EXPECT_EQ(curl({"-H", "Expect:", "--data-binary", "@" + body, url}), "0 405");
  EXPECT_EQ(curl({"-H", "X: " + std::string(50'000, 'x'), url}), "0 431");
}

// One that takes its answer slowly gets all of it, whoever comes and says nothing meanwhile.
TEST_F(EchoNet, AnswersUnderWayAreNotCutOff) {
  // So that a page does not fit into what the kernel keeps for a reader.
  net.set_sysctl("net.ipv4.tcp_wmem", "4096 4096 4096");
  net.set_sysctl("net.ipv4.tcp_rmem", "4096 4096 4096");
  const std::string here = "127.0.0.1:9481";
  const Poold poold(listen_on(here));
  EXPECT_TRUE(metrics_answer_at(here));
  const Descriptor slow(connected_socket(SocketAddress(here)));
  const std::string request = "GET /metrics HTTP/1.1\r\n\r\n";
  ASSERT_EQ(send(slow.get(), request.data(), request.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(request.size()));
  char first = 0;
  ASSERT_EQ(recv(slow.get(), &first, 1, 0), 1);
  std::vector<Descriptor> idle;
  for (int i = 0; i < 200; ++i) idle.emplace_back(connected_socket(SocketAddress(here)));
  EXPECT_EQ(http_get(here, "/none").status, 404);
  std::string text(1, first);
  char chunk[4096];
  for (ssize_t got; (got = recv(slow.get(), chunk, sizeof chunk, 0)) > 0;) {
    text.append(chunk, static_cast<std::size_t>(got));
  }
  const std::size_t length = text.find("Content-Length: ");
  const std::size_t end = text.find("\r\n\r\n");
  ASSERT_NE(length, std::string::npos) << text;
  ASSERT_NE(end, std::string::npos) << text;
  EXPECT_EQ(text.size() - end - 4, std::stoul(text.substr(length + 16)));
}

// The newest of the idle ones is there yet when the page has come: nobody's time had to run out.
TEST_F(EchoNet, AThousandIdleVisitorsShutNobodyOut) {
  const std::string here = "127.0.0.1:9481";
  const Poold poold(listen_on(here));
  EXPECT_TRUE(metrics_answer_at(here));
  std::vector<Descriptor> idle;
  for (int i = 0; i < 1000; ++i) {
    idle.emplace_back(connected_socket(SocketAddress(here)));
    ASSERT_TRUE(idle.back());
  }
  EXPECT_EQ(http_get(here, "/metrics").status, 200);
  char byte = 0;
  EXPECT_EQ(recv(idle.back().get(), &byte, 1, MSG_DONTWAIT), -1);
  EXPECT_EQ(errno, EAGAIN);
}

// A page is made in a thread of its own, and those who ask without reading cost nothing but their
// place: heartbeat, new lanes, another scrape and the end go on.
TEST_F(EchoNet, IdleVisitorsHoldNothingUp) {
  const std::string here = "127.0.0.1:9481";
  Poold poold(listen_on(here));
  EXPECT_TRUE(metrics_answer_at(here));
  std::vector<Descriptor> idle;
  for (int i = 0; i < 15; ++i) {
    idle.emplace_back(connected_socket(SocketAddress(here)));
    ASSERT_TRUE(idle.back());
    // Half of them begin a request.
    if (i % 2 == 0) {
      ASSERT_EQ(send(idle.back().get(), "GET /met", 8, MSG_NOSIGNAL), 8);
    }
  }
  EXPECT_EQ(http_get(here, "/metrics").status, 200);
  poold.make_lanes({kEcho});
  for (int i = 0; i < 100; ++i) idle.emplace_back(connected_socket(SocketAddress(here)));
  EXPECT_EQ(http_get(here, "/metrics").status, 200);
  EXPECT_EQ(poold.stop(), 0) << poold.process().err();
}

}  // namespace
}  // namespace portpool::test
