// The daemon fails in every way, in the middle of honest programs' work: none of them has an error
// or a wrong connection, and afterwards its lanes are the kernel's table, to the port.
//
// PORTPOOL_FAULT_TIMES: how often each fault comes (1). PORTPOOL_FAULT_TABLE: rows (fault_table.h).
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <new>
#include <optional>
#include <random>
#include <stdexcept>

#include "fault/daemon/netlink_fault.h"
#include "fault/fault_table.h"
#include "fault/hostile/honest_load.h"
#include "fault/hostile/scene.h"
#include "observe/segment_reader.h"
#include "support/no_descriptors.h"
#include "support/temp_dir.h"
#include "system/integration/take_over_speaker.h"

namespace portpool::test {
namespace {

constexpr std::size_t kWorkers = 6;
// Connections that the programs make in the middle of each fault.
constexpr std::uint64_t kMeanwhile = 300;

// A child that says to whoever connects that the memory has another layout.
class OtherLayout {
 public:
  explicit OtherLayout(const Descriptor& listener) : pid_(fork()) {
    if (pid_ != 0) return;
    HandoverMessage greeting;
    greeting.layout_major = kLayoutMajor + 1;
    fcntl(listener.get(), F_SETFL, 0);
    for (;;) {
      const Descriptor client(accept(listener.get(), nullptr, nullptr));
      if (client) send_with_descriptors(client.get(), bytes_of(greeting), {});
    }
  }
  ~OtherLayout() {
    ::kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  OtherLayout(const OtherLayout&) = delete;
  OtherLayout& operator=(const OtherLayout&) = delete;

 private:
  pid_t pid_;
};

// For as long as it lives, a process gets no more memory than it has.
class NoMemory {
 public:
  explicit NoMemory(pid_t pid) : pid_(pid) {
    std::ifstream sizes("/proc/" + std::to_string(pid) + "/statm");
    rlim_t pages = 0;
    sizes >> pages;
    EXPECT_EQ(prlimit(pid_, RLIMIT_AS, nullptr, &before_), 0);
    const rlimit now{pages * static_cast<rlim_t>(sysconf(_SC_PAGESIZE)), before_.rlim_max};
    EXPECT_EQ(prlimit(pid_, RLIMIT_AS, &now, nullptr), 0);
  }
  ~NoMemory() { prlimit(pid_, RLIMIT_AS, &before_, nullptr); }
  NoMemory(const NoMemory&) = delete;
  NoMemory& operator=(const NoMemory&) = delete;

 private:
  pid_t pid_;
  rlimit before_{};
};

// What is said to failing_netlink.cpp.
class Netlink {
 public:
  Netlink() {
    const Descriptor file(open(path().c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    void* memory =
        ftruncate(file.get(), sizeof *orders_) == 0
            ? mmap(nullptr, sizeof *orders_, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0)
            : MAP_FAILED;
    if (memory == MAP_FAILED) throw std::runtime_error("no file for failing_netlink");
    orders_ = new (memory) NetlinkOrders;
  }
  ~Netlink() { munmap(orders_, sizeof *orders_); }
  Netlink(const Netlink&) = delete;
  Netlink& operator=(const Netlink&) = delete;

  void begin(NetlinkFault fault) {
    orders_->met = 0;
    orders_->fault = fault;
  }
  // How many calls have failed meanwhile.
  std::uint32_t end() {
    orders_->fault = NetlinkFault::none;
    return orders_->met;
  }
  std::vector<std::string> environment() const {
    return {"LD_PRELOAD=" PORTPOOL_FAILING_NETLINK, "FAILING_NETLINK=" + path()};
  }

 private:
  std::string path() const { return folder_.file("orders"); }
  TempDir folder_;
  NetlinkOrders* orders_ = nullptr;
};

struct Fault {
  const char* name;
  std::function<void()> begin;
  std::function<void()> end;
};

class FaultDaemon : public testing::Test {
 protected:
  void SetUp() override {
#ifdef PORTPOOL_SANITIZED
    GTEST_SKIP() << "a sanitized poold needs the sanitizer's library before any other";
#endif
    poold = std::make_unique<Poold>(kPools, poold_path(), netlink.environment());
    load.start(*poold, kWorkers, 0);
    EXPECT_TRUE(served_by_pool_alone(*poold, std::chrono::milliseconds(50)))
        << poold->process().err();
  }

  static int times() {
    const char* value = std::getenv("PORTPOOL_FAULT_TIMES");
    return value != nullptr ? std::atoi(value) : 1;
  }

  Fault netlink_fault(const char* name, NetlinkFault fault) {
    return {name, [this, fault] { netlink.begin(fault); },
            [this] {
              EXPECT_GT(netlink.end(), 0U) << "poold asked nothing";
              EXPECT_TRUE(poold->process().running()) << poold->process().err();
            }};
  }

  std::vector<Fault> faults() {
    const auto restart = [this] { poold->restart(); };
    return {
        {"daemon killed, and started again", [this] { poold->kill(); }, restart},
        {"daemon ended, and started again", [this] { poold->stop(); }, restart},
        {"daemon stopped, and continued", [this] { poold->process().signal(SIGSTOP); },
         [this] { poold->process().signal(SIGCONT); }},
        {"daemon replaced by a successor", [this] { poold->take_over(); }, [] {}},
        {"daemon replaced by one of another layout, and back", [this] { begin_other_layout(); },
         [this] {
           other_layout.reset();
           poold->restart();
         }},
        {"daemon started twice", [this] { start_second(); }, [] {}},
        {"daemon's socket and lock deleted", [this] { delete_socket(); }, [] {}},
        {"daemon out of descriptors", [this] { no_descriptors.emplace(poold->process().pid()); },
         [this] { no_descriptors.reset(); }},
        {"daemon out of memory", [this] { no_memory.emplace(poold->process().pid()); },
         [this] {
           no_memory.reset();
           if (!poold->process().running()) poold->restart();
         }},
        netlink_fault("netlink: no socket", NetlinkFault::no_socket),
        netlink_fault("netlink: no question", NetlinkFault::no_question),
        netlink_fault("netlink: answers lost", NetlinkFault::lost),
        netlink_fault("netlink: dumps cut off", NetlinkFault::cut),
        netlink_fault("netlink: dumps interrupted", NetlinkFault::interrupted),
        netlink_fault("netlink: garbage", NetlinkFault::garbage),
    };
  }

  void begin_other_layout() {
    Speaker successor(connect_to_daemon(poold->socket()));
    ASSERT_TRUE(successor.hear_greeting());
    successor.say(TakeOverStep::ask);
    ASSERT_TRUE(successor.hears(TakeOverStep::handed));
    ASSERT_EQ(successor.handed.size(), kHandedMost);
    const std::vector<Descriptor> handed = std::move(successor.handed);
    successor.say(TakeOverStep::ready);
    ASSERT_TRUE(successor.hears(TakeOverStep::yours));
    other_layout = std::make_unique<OtherLayout>(handed[kListener]);
    successor.say(TakeOverStep::running, 0);
    EXPECT_EQ(poold->process().wait(), 0) << poold->process().err();
  }
  void start_second() {
    Process second({poold_path(), "serve", "--socket", poold->socket()});
    EXPECT_EQ(second.wait(), 2) << second.err();
  }
  void delete_socket() {
    std::filesystem::remove(poold->socket());
    std::filesystem::remove(poold->socket() + ".lock");
  }

  // The programs go on; and another one comes, which connects where nobody has been, too.
  void work() {
    const std::uint64_t so_far = load.ask();
    const GuestResult newcomer =
        run_guest("support_touch", shim_at(poold->socket()),
                  {"127.0.0.1:9001", "10.8.0." + std::to_string(++last_host % 250) + ":9001"});
    EXPECT_EQ(newcomer, GuestResult{});
    newcomers_failed += newcomer.status != 0 ? 1 : 0;
    EXPECT_TRUE(eventually([&] { return load.ask() >= so_far + kMeanwhile; }))
        << "the programs do not go on";
  }

  void undergo(const Fault& fault, FaultRow& row) {
    SCOPED_TRACE(fault.name);
    const std::uint64_t errors = load.errors() + newcomers_failed;
    const std::uint64_t wrong = load.wrong();
    ASSERT_NO_FATAL_FAILURE(fault.begin());
    work();
    fault.end();
    const auto over = std::chrono::steady_clock::now();
    EXPECT_TRUE(served_by_pool_alone(*poold, std::chrono::milliseconds(50)))
        << poold->process().err();
    row.worst_recovery =
        std::max(row.worst_recovery, std::chrono::duration_cast<std::chrono::milliseconds>(
                                         std::chrono::steady_clock::now() - over));
    load.pause();
    FaultRow agreement;
    await_agreement(*poold, {kLow, kHigh}, agreement);
    load.go_on();
    ++row.tried;
    row.application_errors += load.errors() + newcomers_failed - errors;
    row.wrong_connections += load.wrong() - wrong;
    row.ports_lost += agreement.ports_lost;
  }

  Netlink netlink;
  HonestNet net;
  std::unique_ptr<Poold> poold;
  HonestLoad load;
  std::unique_ptr<OtherLayout> other_layout;
  std::optional<NoDescriptors> no_descriptors;
  std::optional<NoMemory> no_memory;
  std::uint64_t newcomers_failed = 0;
  int last_host = 9;
};

// One load, and each fault in turn, in an order that is another each time.
TEST_F(FaultDaemon, UnderOneLoad) {
  std::vector<Fault> all = faults();
  FaultTable table;
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < all.size(); ++i) {
    order.insert(order.end(), static_cast<std::size_t>(times()), i);
  }
  std::shuffle(order.begin(), order.end(), std::mt19937(std::random_device{}()));
  for (const std::size_t i : order) {
    FaultRow row;
    undergo(all[i], row);
    table.add(std::string(all[i].name) + (by_bind() ? " (bind)" : " (port-range)"), row);
    if (HasFailure()) break;
  }
  load.stop();
  table.write();
}

}  // namespace
}  // namespace portpool::test
