// A hostile client writes the hints, all of them, in every way that we can think of, while honest
// programs connect: none of them gets anything that the kernel's own path would not have given, and
// poold bears it. What each word can do at most: docs/threat-model.md.
//
// PORTPOOL_HOSTILE_SECONDS: how long each kind of attack goes on (2, and one round of its ways at
// least). For minutes: PORTPOOL_HOSTILE_SECONDS=60 build/release/tests/fault_hostile; the bind
// strategy by PORTPOOL_TEST_STRATEGY=bind besides.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>

#include "fault/hostile/attached_segment.h"
#include "fault/hostile/honest_load.h"
#include "fault/hostile/scene.h"
#include "support/poold_fixture.h"
#include "support/temp_dir.h"

namespace portpool::test {
namespace {

constexpr std::size_t kHonest = 20;
// Without the library: where one of these fails, the scene is wrong.
constexpr std::size_t kNative = 2;
constexpr std::size_t kMaxLanes = 64;

std::uint64_t most_memory_kb() {
  // Under a sanitizer freed memory is kept back, and each allocation has a shadow.
  return is_sanitized() ? 1024 * 1024 : 96 * 1024;
}

std::chrono::milliseconds seconds_of_each_kind() {
  const char* value = std::getenv("PORTPOOL_HOSTILE_SECONDS");
  return std::chrono::seconds(value != nullptr ? std::atoi(value) : 2);
}

// What poold takes of the machine.
struct Usage {
  double cpu_s = 0;
  std::uint64_t memory_kb = 0;  // that is its own alone
};

Usage usage_of(pid_t pid) {
  const std::string folder = "/proc/" + std::to_string(pid);
  const std::string stat = read_whole_file(folder + "/stat");
  std::istringstream fields(stat.substr(stat.rfind(')') + 2));
  std::string skipped;
  for (int i = 0; i < 11; ++i) fields >> skipped;
  std::uint64_t user = 0;
  std::uint64_t system = 0;
  fields >> user >> system;
  const std::string status = read_whole_file(folder + "/status");
  const std::string name = "RssAnon:";
  return {static_cast<double>(user + system) / static_cast<double>(sysconf(_SC_CLK_TCK)),
          std::stoull(status.substr(status.find(name) + name.size()))};
}

class Hostile : public testing::Test {
 protected:
  Hostile() {
    if (by_bind()) net.net.set_sysctl("net.ipv4.ip_local_reserved_ports", kReserved);
    poold = std::make_unique<Poold>(
        by_bind() ? pools_of_reserved_ports() + kOwnRangePool + kReservedPool : kPools);
    segment = std::make_unique<AttachedSegment>(poold->socket());
  }

  std::uint64_t beats() const { return segment->header().heartbeat.load(); }

  // One kind of attack, while everybody is watched.
  void attack(const std::string& kind) {
    SCOPED_TRACE("attack: " + kind);
    const std::uint64_t connects = honest.ask();
    const Usage before = usage_of(poold->process().pid());
    const auto begin = std::chrono::steady_clock::now();
    Process tracer({poold_path(), "trace", "--json"}, {"PORTPOOL_SOCKET=" + poold->socket()});
    Process writer = start_guest("hostile", native(), {poold->socket(), kind});
    writer.wait_for_output("attacks\n");
    std::uint64_t most_lanes = 0;
    do {
      // Throws when it is no JSON.
      const nlohmann::json status = poold->status();
      expect_list();
      most_lanes =
          std::max<std::uint64_t>({most_lanes, segment->lanes(), status.at("lanes").size()});
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    } while (std::chrono::steady_clock::now() - begin < seconds_of_each_kind());
    const std::uint64_t beat = beats();
    EXPECT_TRUE(eventually([&] { return beats() >= beat + 3; })) << "poold's heart stands still";
    writer.send_line("stop");
    ASSERT_EQ(writer.wait(), 0) << writer.err();
    EXPECT_TRUE(tracer.running()) << tracer.err();
    tracer.signal(SIGTERM);
    tracer.wait();
    std::istringstream traced(tracer.out());
    for (std::string line; std::getline(traced, line);) {
      if (traced.eof()) break;  // cut off
      EXPECT_TRUE(nlohmann::json::accept(line)) << line;
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    const Usage after = usage_of(poold->process().pid());
    const double cores = (after.cpu_s - before.cpu_s) / took.count();
    std::istringstream report(writer.out().substr(writer.out().find('\n')));
    std::uint64_t stores = 0;
    std::uint64_t rounds = 0;
    std::size_t words = 0;
    std::size_t complete = 0;
    std::size_t first_incomplete = 0;
    report >> stores >> rounds >> words >> complete >> first_incomplete;
    const std::uint64_t made = honest.ask() - connects;
    std::printf(
        "%-10s %5.1f s: %9llu connects, %6.1f million stores in %llu rounds; poold: %4.1f %% of a "
        "core, %llu MiB, %llu lanes\n",
        kind.c_str(), took.count(), static_cast<unsigned long long>(made),
        static_cast<double>(stores) / 1e6, static_cast<unsigned long long>(rounds), cores * 100,
        static_cast<unsigned long long>(after.memory_kb / 1024),
        static_cast<unsigned long long>(most_lanes));
    std::fflush(stdout);
    EXPECT_GT(made, 0U);
    EXPECT_LT(cores, kMostCores);
    EXPECT_LT(after.memory_kb, most_memory_kb());
    EXPECT_LE(most_lanes, kMaxLanes);
    if (kind == "sweep") {
      EXPECT_EQ(words, segment->words().size());
      EXPECT_EQ(complete, words) << "byte " << first_incomplete * 8
                                 << " of the hints was not written in each way";
    }
    EXPECT_TRUE(served_by_pool_alone(*poold, std::chrono::milliseconds(200)));
  }

  // Whatever stands in the table, each program is there, and served.
  void expect_list() {
    Process lister({poold_path(), "check", "--all", "--json", "--socket", poold->socket()});
    lister.wait();
    const nlohmann::json listed = nlohmann::json::parse(lister.out(), nullptr, false);
    ASSERT_TRUE(listed.is_object()) << lister.out() << lister.err();
    std::map<pid_t, std::string> served;
    for (const nlohmann::json& program : listed.at("programs")) {
      served[program.at("pid")] = program.at("served");
    }
    for (std::size_t i = 0; i < kHonest; ++i) EXPECT_EQ(served[honest.pid(i)], "yes");
  }

  // Where nobody has been before: by a request, and a lane that is made for it.
  void expect_new_lane() {
    const std::string destination = "10.8.0.77:9001";
    EXPECT_TRUE(eventually([&] {
      const GuestResult touched = run_guest("support_touch", poold->shim(), {destination});
      EXPECT_EQ(touched.status, 0) << touched.err;
      return !lane_of(poold->status(), destination).is_null();
    })) << "poold makes no lane any more";
  }

  static constexpr double kMostCores = 0.5;

  HonestNet net;
  std::unique_ptr<Poold> poold;
  std::unique_ptr<AttachedSegment> segment;
  HonestLoad honest;
};

TEST_F(Hostile, NothingWorseThanTheKernelsPath) {
  honest.start(*poold, kHonest, kNative);
  EXPECT_TRUE(served_by_pool_alone(*poold, std::chrono::milliseconds(200)));
  const auto& header = segment->header();
  std::printf("%zu words in %u lanes and %u shards\n", segment->words().size(),
              header.lane_hints.count, header.shards.count);
  for (const char* kind : {"requests", "sweep", "noise", "shown", "lane_heads", "holes", "ports"}) {
    attack(kind);
    if (HasFatalFailure()) break;
  }
  expect_new_lane();
  honest.stop();
}

}  // namespace
}  // namespace portpool::test
