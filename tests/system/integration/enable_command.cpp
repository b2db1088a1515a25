// `poold enable` and `poold disable`, in a folder that stands for a system's root.
#include <filesystem>
#include <fstream>
#include <utility>

#include "support/temp_dir.h"
#include "system/integration/common.h"

namespace portpool::test {
namespace {

namespace fs = std::filesystem;

class EnableCommand : public testing::Test {
 protected:
  EnableCommand() {
    put("lib/systemd/system/web.service", "[Service]\nExecStart=/bin/true\n");
    put("etc/group", "root:x:0:\nportpool:x:102:\n");
  }

  void put(const std::string& path, const std::string& text) {
    fs::create_directories((root / path).parent_path());
    std::ofstream(root / path) << text;
  }
  std::string drop_in(const std::string& unit = "web.service") const {
    const fs::path file = root / "etc/systemd/system" / (unit + ".d") / "50-portpool.conf";
    return fs::exists(file) ? read_whole_file(file) : "";
  }
  // Exit status; what was said is in `out` and `err`.
  int poold(std::vector<std::string> words) {
    words.insert(words.begin(), poold_path());
    words.insert(words.end(), {"--root", root});
    Process process(words, {"PORTPOOL_LIBRARY=" + library});
    const int status = process.wait();
    out = process.out();
    err = process.err();
    return status;
  }

  static constexpr const char* kLibrary = "/opt/portpool/libportpool.so";
  std::string library = kLibrary;
  TempDir directory;
  fs::path root = directory.file("root");
  std::string out;
  std::string err;
};

TEST_F(EnableCommand, WritesAndRemovesADropIn) {
  EXPECT_EQ(poold({"enable", "web"}), 0) << err;
  EXPECT_NE(out.find("systemctl daemon-reload && systemctl restart web.service"),
            std::string::npos);
  EXPECT_EQ(drop_in(),
            "# Written by poold enable; poold disable removes it.\n[Service]\n"
            "Environment=\"LD_PRELOAD=/opt/portpool/libportpool.so\"\n"
            "SupplementaryGroups=portpool\n");
  EXPECT_EQ(poold({"disable", "web.service"}), 0) << err;
  EXPECT_EQ(drop_in(), "");
  EXPECT_FALSE(fs::exists(root / "etc/systemd/system/web.service.d"));
  EXPECT_EQ(poold({"disable", "web"}), 0);
  EXPECT_NE(out.find("is not enabled"), std::string::npos) << out;
}

TEST_F(EnableCommand, KeepsWhatTheUnitPreloads) {
  put("etc/systemd/system/web.service.d/10-malloc.conf",
      "[Service]\nEnvironment=A=b \"LD_PRELOAD=/usr/lib/libjemalloc.so.2\"\n");
  for (int i = 0; i < 2; ++i) {  // its own drop-in does not count
    EXPECT_EQ(poold({"enable", "web", "--mode", "observe", "--socket", "/run/my \"%s\""}), 0)
        << err;
    EXPECT_NE(
        drop_in().find("\"LD_PRELOAD=/opt/portpool/libportpool.so:/usr/lib/libjemalloc.so.2\"\n"
                       "Environment=\"PORTPOOL_SOCKET=/run/my \\\"%%s\\\"\"\n"
                       "Environment=\"PORTPOOL_MODE=observe\"\n"),
        std::string::npos)
        << drop_in();
  }
  EXPECT_EQ(poold({"disable", "web"}), 0);
  EXPECT_TRUE(fs::exists(root / "etc/systemd/system/web.service.d/10-malloc.conf"));
}

// PrivateTmp= and ProtectSystem= leave both in sight; a mount where none is needed would only hide
// what is mounted there later.
TEST_F(EnableCommand, MountsWhatTheServiceWouldNotSee) {
  const std::string socket = "BindReadOnlyPaths=\"-/run/portpool\"\n";
  const std::string both = "BindReadOnlyPaths=\"-/opt/portpool/libportpool.so\"\n" + socket;
  const std::pair<const char*, std::string> settings[] = {
      {"PrivateTmp=yes\nProtectSystem=strict\nProtectHome=yes\nDynamicUser=yes", ""},
      {"RootDirectory=/srv/web", both},
      {"RootImage=/srv/\\\n# which\nweb.img", both},
      {"RootDirectory=/srv/web\nRootDirectory=", ""},
      {"TemporaryFileSystem=/var /run:ro", socket},
      {"TemporaryFileSystem=/:ro", both},
      {"TemporaryFileSystem=/runner", ""},
      {"InaccessiblePaths=-/run", ""}};
  for (const auto& [setting, mounts] : settings) {
    put("lib/systemd/system/web.service",
        "[Service]\n" + std::string(setting) + "\n[Install]\nRootDirectory=/none\n");
    EXPECT_EQ(poold({"enable", "web"}), 0) << setting << err;
    const std::string written = drop_in();
    const std::size_t at = written.find("BindReadOnlyPaths");
    EXPECT_EQ(at == written.npos ? "" : written.substr(at), mounts) << setting;
  }
  put("lib/systemd/system/web.service", "[Service]\nPrivateTmp=yes\n");
  EXPECT_EQ(poold({"enable", "web", "--socket", "/tmp/a %:b/s"}), 0) << err;
  EXPECT_NE(drop_in().find("BindReadOnlyPaths=\"-/tmp/a %%:b\"\n"), std::string::npos) << drop_in();
  // What an administrator's file says counts more than what the package's does.
  put("etc/systemd/system/web.service.d/10-root.conf", "[Service]\nRootDirectory=/srv/web\n");
  put("etc/systemd/system/web.service.d/20-root.conf", "[Service]\nRootDirectory=\n");
  EXPECT_EQ(poold({"enable", "web"}), 0) << err;
  EXPECT_EQ(drop_in().find("BindReadOnlyPaths"), std::string::npos) << drop_in();
}

TEST_F(EnableCommand, SaysWhatCannotBe) {
  put("etc/web.env", "A=b\nLD_PRELOAD=/x.so\n");
  const std::pair<const char*, const char*> settings[] = {
      {"RestrictAddressFamilies=AF_INET AF_INET6", "unless AF_UNIX is among them"},
      {"RestrictAddressFamilies=~AF_UNIX AF_NETLINK", "unless AF_UNIX is among them"},
      {"RestrictAddressFamilies=AF_INET\nRestrictAddressFamilies=AF_UNIX", ""},
      {"RestrictAddressFamilies=~AF_NETLINK", ""},
      {"InaccessiblePaths=-/run", "InaccessiblePaths= hides /run/portpool from it"},
      {"UnsetEnvironment=LANG LD_PRELOAD", "it starts without the library"},
      {"EnvironmentFile=-/etc/web.env", "/etc/web.env sets LD_PRELOAD"},
      {"EnvironmentFile=/etc/none.env", ""}};
  for (const auto& [setting, words] : settings) {
    put("lib/systemd/system/web.service", "[Service]\n" + std::string(setting) + "\n");
    EXPECT_EQ(poold({"enable", "web"}), 0) << setting << err;
    if (*words == '\0') {
      EXPECT_EQ(out.find("web.service: "), std::string::npos) << setting << out;
    } else {
      EXPECT_NE(out.find(words), std::string::npos) << setting << out;
    }
  }
}

TEST_F(EnableCommand, AnotherNetworkNamespaceHasOtherPorts) {
  for (const char* setting : {"PrivateNetwork=yes", "NetworkNamespacePath=/run/netns/blue"}) {
    put("lib/systemd/system/web.service", "[Service]\n" + std::string(setting) + "\n");
    EXPECT_EQ(poold({"enable", "web"}), 2) << setting;
    EXPECT_NE(err.find("has a network namespace of its own (" + std::string(setting)),
              std::string::npos)
        << err;
    EXPECT_EQ(drop_in(), "");
    EXPECT_EQ(poold({"enable", "web", "--socket", "/run/blue/s"}), 0) << err;
    EXPECT_EQ(poold({"disable", "web"}), 0) << err;
  }
}

// systemd starts no service with a group that is not there.
TEST_F(EnableCommand, WithoutTheGroup) {
  put("etc/group", "root:x:0:\n");
  EXPECT_EQ(poold({"enable", "web"}), 0) << err;
  EXPECT_EQ(drop_in().find("SupplementaryGroups"), std::string::npos);
  EXPECT_NE(out.find("there is no group portpool"), std::string::npos) << out;
}

TEST_F(EnableCommand, InstancesHaveTheirTemplatesFiles) {
  put("usr/lib/systemd/system/worker@.service", "[Service]\n");
  EXPECT_EQ(poold({"enable", "worker@7"}), 0) << err;
  EXPECT_NE(drop_in("worker@7.service"), "");
}

TEST_F(EnableCommand, WhatItRefuses) {
  EXPECT_EQ(poold({"enable", "squid"}), 2);
  EXPECT_NE(err.find("there is no squid.service here"), std::string::npos) << err;
  for (const char* name : {"../../etc/passwd", "a b", "x\n"}) {
    EXPECT_EQ(poold({"enable", name}), 2) << name;
    EXPECT_NE(err.find("is no name of a service"), std::string::npos) << err;
  }
  EXPECT_EQ(poold({"enable", "web", "--socket", "/run/a\nUser=root"}), 2);
  // ld.so(8) would look for two libraries.
  library = "/srv/a folder/libportpool.so";
  EXPECT_EQ(poold({"enable", "web"}), 2);
  EXPECT_NE(err.find("move it, or name a link to it with PORTPOOL_LIBRARY"), std::string::npos)
      << err;
  library = kLibrary;
  EXPECT_EQ(drop_in(), "");
  put("etc/systemd/system/web.service.d/50-portpool.conf", "[Service]\n");
  EXPECT_EQ(poold({"enable", "web"}), 2);
  EXPECT_EQ(poold({"disable", "web"}), 2);
  EXPECT_EQ(drop_in(), "[Service]\n");
}

}  // namespace
}  // namespace portpool::test
