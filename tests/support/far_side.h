// Another host: a second network namespace, which the test's own reaches by two uplinks.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace portpool::test {

// Runs ip(8) with these words in the calling process's namespace: ip("rule add fwmark 7 lookup
// 100"). Throws std::runtime_error with its own words when it fails.
void ip(const std::string& words);

//   here                                     there
//   u1  10.1.0.1/24, fd00:1::1/64  ========  10.1.0.2, fd00:1::2    the routes' choice
//   u2  10.2.0.1/24, fd00:2::1/64  ========  10.2.0.2, fd00:2::2    routes with a worse metric
//                                            10.9.0.1, fd00:9::1    echo servers on `ports`
//
// Table 100 here leads there by u2, from the addresses of u2; a test's rules may point to it.
// There, 10.5.0.0/24 and fd00:5::/64 are said to be here. To be made in a PrivateNet.
class FarSide {
 public:
  using Settings = std::vector<std::pair<std::string, std::string>>;
  // `settings`: sysctls there, {"net.ipv4.tcp_timestamps", "0"}.
  explicit FarSide(const std::vector<std::uint16_t>& ports, const Settings& settings = {});
  ~FarSide();
  FarSide(const FarSide&) = delete;
  FarSide& operator=(const FarSide&) = delete;

  // Of its process, for nsenter(1).
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
};

inline const std::string kFirstUplink = "10.1.0.1";
inline const std::string kSecondUplink = "10.2.0.1";
inline const std::string kFirstUplinkV6 = "[fd00:1::1]";
inline const std::string kSecondUplinkV6 = "[fd00:2::1]";
inline const std::string kFarHost = "10.9.0.1";
inline const std::string kFarHostV6 = "[fd00:9::1]";

}  // namespace portpool::test
