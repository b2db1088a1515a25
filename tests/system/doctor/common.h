// Runs `poold doctor` and takes its answer apart.
#pragma once

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/echo_server.h"
#include "support/guest.h"
#include "support/holder.h"
#include "support/poold_fixture.h"
#include "support/private_net.h"
#include "support/sockets.h"

namespace portpool::test {

inline const std::string kServer = "127.0.0.1:9001";
inline const std::string kOtherServer = "127.0.0.1:9002";

struct Diagnosis {
  int status = 0;
  std::string out;
  std::string err;
  nlohmann::json report;  // with --json

  // The check of that name, or null.
  nlohmann::json check(const std::string& name) const;
  std::string status_of(const std::string& name) const { return check(name).at("status"); }
};

// What a command says, not taken apart.
Diagnosis answer_of(std::vector<std::string> command, const std::vector<std::string>& options = {},
                    const std::vector<std::string>& environment = {});
// With --json; a report that does not keep to its schema is a test failure.
Diagnosis diagnose(const std::vector<std::string>& options = {},
                   const std::vector<std::string>& environment = {});
// As people see it.
Diagnosis diagnose_as_text(const std::vector<std::string>& options = {},
                           const std::vector<std::string>& environment = {});

// That the check has this status, a summary with all of `mentioned`, and a fix unless it is "ok".
void expect_check(const Diagnosis& diagnosis, const std::string& name, const std::string& status,
                  const std::vector<std::string>& mentioned = {});

// A private network with a small range of 2,200 ports: the cliff stands at 1,100.
class SmallNet : public testing::Test {
 protected:
  SmallNet() { net.set_port_range(20000, 22199); }

  PrivateNet net;
};

// The same with servers on 9001 and 9002.
class ServedNet : public SmallNet {
 protected:
  EchoServer server{{9001, 9002}};
};

// Guests:
//   hold_connections DESTINATION COUNT [LIMIT]   says "held"; LIMIT: of open files
//   hold_bound ADDRESS COUNT                     binds to port 0 of it; says "held"
//   hold_bound_connections ADDRESS DESTINATION COUNT   bind(), then connect(); says "held"
}  // namespace portpool::test
