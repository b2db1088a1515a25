// A source address that comes and goes with a VRRP daemon: absent at start, used as soon as it is
// there, and when it is gone connects go on without it.
#include <csignal>
#include <tuple>

#include "support/far_side.h"
#include "support/temp_dir.h"
#include "system/lanes/lane_net.h"

namespace portpool::test {
namespace {

struct Family {
  const char* name;
  std::string destination;  // on the far side
  std::string uplink;       // the address that routing picks
  std::string source;       // the one that moves, as getsockname() has it
  std::string prefix;       // the same for ip(8)
  std::string fixed;        // another one that the far side knows
};
// For GoogleTest's messages.
[[maybe_unused]] void PrintTo(const Family& family, std::ostream* stream) {
  *stream << family.name;
}
const Family kFamilies[] = {
    {"IPv4", kFarHost + ":9001", kFirstUplink, "10.5.0.100", "10.5.0.100/32", "10.5.0.1"},
    {"IPv6", kFarHostV6 + ":9001", kFirstUplinkV6, "[fd00:5::100]", "fd00:5::100/64",
     "[fd00:5::1]"}};

std::string bare(const std::string& address) {
  return address.starts_with('[') ? address.substr(1, address.size() - 2) : address;
}
std::string quoted(const std::string& address) { return "\"" + bare(address) + "\""; }

class Failover : public LaneNet {
 protected:
  Failover() {
    net.set_sysctl("net.ipv4.conf.all.rp_filter", "0");
    far = std::make_unique<FarSide>(std::vector<std::uint16_t>{9001});
  }

  // The pool names these; one that is not there is no error.
  void start_with(const std::string& names) {
    start(1000, "sources_optional = true\n[[pool]]\nname = \"vip\"\nsources = [" + names + "]\n");
  }
  // The first second of an IPv6 address is the kernel's, to look for duplicates (RFC 4862).
  void add(const Family& family) const { ip("address add " + family.prefix + " dev u1"); }
  void remove(const Family& family) const { ip("address del " + family.prefix + " dev u1"); }

  // Of one connect, which is reset at once; each must succeed, whatever happens to addresses.
  static std::string source_of(Client& client, const Family& family) {
    const Connected connected = client.connect(family.destination);
    EXPECT_EQ(connected.error, "ok");
    if (!connected.ok()) return connected.error;
    client.reset(connected.fd);
    return connected.source();
  }
  // Until a connect by the pool comes from there. To the kernel's own choice an address that has
  // just come may look good, too.
  bool comes_from(Client& client, const Family& family, const std::string& source) const {
    return eventually(
        [&] {
          const std::uint64_t before = pool_connects(poold->status());
          return source_of(client, family) == source && pool_connects(poold->status()) > before;
        },
        kSoon);
  }
  bool is_said(const std::string& text) const {
    return eventually([&] { return poold->process().err().find(text) != std::string::npos; });
  }
  // Until connects are on the kernel's path for that reason.
  bool falls_back(Client& client, const Family& family, const std::string& reason) const {
    const std::uint64_t before = fallbacks(poold->status(), reason);
    return eventually([&] {
      source_of(client, family);
      return fallbacks(poold->status(), reason) > before;
    });
  }

  std::unique_ptr<FarSide> far;
};

class EachFamily : public Failover,
                   public testing::WithParamInterface<std::tuple<const char*, Family>> {
 protected:
  std::string strategy() const override { return std::get<0>(GetParam()); }
  const Family& family() const { return std::get<1>(GetParam()); }
};

TEST_P(EachFamily, TheOnlySourceComesAndGoes) {
  start_with(quoted(family().source));
  EXPECT_TRUE(is_said("source " + bare(family().source) + " does not belong to this host"));
  Client client(poold->shim());
  ASSERT_TRUE(falls_back(client, family(), "no_source")) << poold->status();
  EXPECT_EQ(source_of(client, family()), family().uplink);
  for (int turn = 0; turn < 2; ++turn) {
    add(family());
    ASSERT_TRUE(comes_from(client, family(), family().source)) << poold->status();
    EXPECT_TRUE(is_said("source " + bare(family().source) + " has come to this host"));
    const std::uint64_t before = pool_connects(poold->status());
    const Connected held = client.connect(family().destination);
    EXPECT_EQ(held.source(), family().source);
    EXPECT_EQ(pool_connects(poold->status()), before + 1);

    remove(family());
    EXPECT_EQ(source_of(client, family()), family().uplink);  // at once, noticed or not
    EXPECT_TRUE(is_said("source " + bare(family().source) + " is gone from this host"));
    EXPECT_TRUE(is_said("no source is left"));
    ASSERT_TRUE(falls_back(client, family(), "no_source")) << poold->status();
    for (int i = 0; i < 20; ++i) EXPECT_EQ(source_of(client, family()), family().uplink);

    // What stands goes on when the address is back.
    add(family());
    ASSERT_TRUE(comes_from(client, family(), family().source)) << poold->status();
    EXPECT_EQ(client.ask("echo " + std::to_string(held.fd)), "ok");
    client.reset(held.fd);
    remove(family());
    EXPECT_EQ(source_of(client, family()), family().uplink);
  }
}

TEST_P(EachFamily, TheNextSourceTakesOver) {
  net.add_address(bare(family().fixed) + (family().source.starts_with('[') ? "/128" : "/32"));
  start_with(quoted(family().source) + ", " + quoted(family().fixed));
  Client client(poold->shim());
  ASSERT_TRUE(comes_from(client, family(), family().fixed)) << poold->status();
  add(family());
  ASSERT_TRUE(comes_from(client, family(), family().source)) << poold->status();
  const std::uint64_t on_kernels_path = kernel_connects(poold->status());
  remove(family());
  for (int i = 0; i < 50; ++i) EXPECT_EQ(source_of(client, family()), family().fixed);
  EXPECT_EQ(kernel_connects(poold->status()), on_kernels_path);
}

// Stopped, poold learns nothing: the lane is claimed from, and the address is not there.
TEST_P(EachFamily, GoneBetweenClaimAndConnect) {
  start_with(quoted(family().source));
  add(family());
  Client client(poold->shim());
  ASSERT_TRUE(comes_from(client, family(), family().source)) << poold->status();
  poold->process().signal(SIGSTOP);
  remove(family());
  EXPECT_EQ(source_of(client, family()), family().uplink);
  poold->process().signal(SIGCONT);
  EXPECT_TRUE(eventually([&] {
    // After a second of a busy machine the heartbeat counts as stale.
    const nlohmann::json now = poold->status();
    return fallbacks(now, "source_failed") + fallbacks(now, "stale_heartbeat") > 0;
  })) << poold->status();
}

INSTANTIATE_TEST_SUITE_P(Strategy, EachFamily,
                         testing::Combine(testing::Values("port-range", "bind"),
                                          testing::ValuesIn(kFamilies)),
                         [](const auto& parameter) {
                           const std::string strategy = std::get<0>(parameter.param);
                           return (strategy == "bind" ? "Bind" : "PortRange") +
                                  std::string(std::get<1>(parameter.param).name);
                         });

// One family's sources are away: the other's destinations are not concerned.
TEST_F(Failover, OneFamilyIsAway) {
  start_with("\"10.5.0.100\", \"fd00:5::100\"");
  const auto& [v4, v6] = kFamilies;
  add(v4);
  add(v6);
  Client client(poold->shim());
  for (const Family& family : kFamilies) ASSERT_TRUE(comes_from(client, family, family.source));
  remove(v6);
  EXPECT_TRUE(is_said("pool vip: no IPv6 source is left"));
  ASSERT_TRUE(falls_back(client, v6, "no_source")) << poold->status();
  EXPECT_EQ(source_of(client, v6), v6.uplink);
  EXPECT_EQ(source_of(client, v4), v4.source);
}

// At boot a daemon starts within the second in which the kernel looks for duplicates of its
// addresses: those are this host's, if not yet to be used.
TEST_F(Failover, ATentativeAddressIsNoErrorAtStart) {
  const Family& v6 = kFamilies[1];
  net.set_sysctl("net.ipv6.conf.u1.dad_transmits", "3");
  add(v6);
  start(1000, "[[pool]]\nsources = [\"fd00:5::100\"]\n");
  Client client(poold->shim());
  EXPECT_TRUE(comes_from(client, v6, v6.source)) << poold->status();
}

TEST_F(Failover, ADuplicateIsNamedAsOne) {
  ip("link add d0 type veth peer name d1");
  for (const std::string link : {"d0", "d1"}) ip("link set " + link + " up");
  ip("address add fd00:7::1/64 dev d1 nodad");
  ip("address add fd00:7::1/64 dev d0");
  const TempDir directory;
  const std::string path = directory.write("poold.toml", "[[pool]]\nsources = [\"fd00:7::1\"]\n");
  // It is this host's by the other interface, until that is down.
  ASSERT_TRUE(eventually([&] {
    Process look({"ip", "-6", "address", "show", "dev", "d0"});
    return look.wait() == 0 && look.out().find("dadfailed") != std::string::npos;
  }));
  ip("address del fd00:7::1/64 dev d1");
  Process daemon(
      {poold_path(), "serve", "--config", path, "--socket", directory.file("poold.sock")});
  EXPECT_EQ(daemon.wait(), 2) << daemon.err();
  EXPECT_NE(daemon.err().find(":2:12: source fd00:7::1 is another host's as well"),
            std::string::npos)
      << daemon.err();
}

TEST_F(Failover, WithoutThatKeyAnAbsentSourceRefusesToStart) {
  const TempDir directory;
  const std::string path = directory.write("poold.toml", "[[pool]]\nsources = [\"10.5.0.100\"]\n");
  Process daemon(
      {poold_path(), "serve", "--config", path, "--socket", directory.file("poold.sock")});
  EXPECT_EQ(daemon.wait(), 2) << daemon.err();
  EXPECT_NE(daemon.err().find(":2:12: source 10.5.0.100 does not belong to this host"),
            std::string::npos)
      << daemon.err();
  EXPECT_NE(daemon.err().find("sources_optional = true"), std::string::npos) << daemon.err();
}

TEST_F(Failover, AnUpgradeWithoutTheAddressLeavesTheOldDaemon) {
  const Family& v4 = kFamilies[0];
  add(v4);
  start(1000, "[[pool]]\nsources = [\"10.5.0.100\"]\n");
  Client client(poold->shim());
  ASSERT_TRUE(comes_from(client, v4, v4.source)) << poold->status();
  remove(v4);
  ASSERT_TRUE(is_said("source 10.5.0.100 is gone from this host"));
  poold->process().signal(SIGUSR2);
  EXPECT_TRUE(is_said("start without it: sources_optional = true"));
  EXPECT_TRUE(is_said("not taken over; this poold goes on"));
  add(v4);
  EXPECT_TRUE(comes_from(client, v4, v4.source)) << poold->status();
}

// The real thing, on both sides: the far one takes the addresses over when ours ends.
class Keepalived : public EachStrategy {
 protected:
  Keepalived() {
    net.set_sysctl("net.ipv4.conf.all.rp_filter", "0");
    far = std::make_unique<FarSide>(std::vector<std::uint16_t>{9001});
  }

  // `where`: what the command begins with.
  std::unique_ptr<Process> keepalived(const std::string& name, int priority,
                                      std::vector<std::string> where = {}) {
    std::string config = "global_defs {\n  vrrp_version 3\n}\n";
    int router = 51;
    for (const std::string address : {"10.5.0.100/32", "fd00:5::100/128"}) {
      config += "vrrp_instance router" + std::to_string(router) +
                " {\n  interface u1\n  state BACKUP\n  virtual_router_id " +
                std::to_string(router) + "\n  priority " + std::to_string(priority) +
                "\n  advert_int 0.1\n  virtual_ipaddress {\n    " + address + " dev u1\n  }\n}\n";
      ++router;
    }
    const std::string file = directory.write(name + ".conf", config);
    std::vector<std::string> command{"keepalived",
                                     "--dont-fork",
                                     "--log-console",
                                     "--vrrp",
                                     "-f",
                                     file,
                                     "-p",
                                     directory.file(name + ".pid"),
                                     "-r",
                                     directory.file(name + ".vrrp.pid")};
    where.insert(where.end(), command.begin(), command.end());
    return std::make_unique<Process>(where);
  }
  static void end(Process& process) {
    process.signal(SIGTERM);
    EXPECT_EQ(process.wait(), 0) << process.out() << process.err();
  }
  bool comes_from(Client& client, const std::string& destination, const std::string& source) {
    return eventually([&] {
      const Connected connected = client.connect(destination);
      EXPECT_EQ(connected.error, "ok");
      if (connected.ok()) client.reset(connected.fd);
      return connected.source() == source;
    });
  }

  TempDir directory;
  std::unique_ptr<FarSide> far;
};

TEST_P(Keepalived, TakesTheAddressesAwayAndBringsThemBack) {
  if (Process({"keepalived", "--version"}).wait() == 127) GTEST_SKIP() << "no keepalived here";
  start(1000, "sources_optional = true\n[[pool]]\nsources = [\"10.5.0.100\", \"fd00:5::100\"]\n");
  Client client(poold->shim());
  const auto backup =
      keepalived("backup", 100, {"nsenter", "-t", std::to_string(far->pid()), "-n"});
  for (int turn = 0; turn < 2; ++turn) {
    const auto master = keepalived("master", 200);
    for (const Family& family : kFamilies) {
      EXPECT_TRUE(comes_from(client, family.destination, family.source))
          << poold->status() << master->out() << backup->out();
    }
    end(*master);
    for (const Family& family : kFamilies) {
      EXPECT_TRUE(comes_from(client, family.destination, family.uplink)) << poold->status();
    }
  }
  end(*backup);
}

PORTPOOL_EACH_STRATEGY(Keepalived);

}  // namespace
}  // namespace portpool::test
