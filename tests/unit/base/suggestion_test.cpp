#include "base/suggestion.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace portpool {
namespace {

const std::vector<std::string> kCommands{"serve", "run",   "status", "check",
                                         "top",   "trace", "doctor"};

TEST(Suggestion, FindsWhatWasMeant) {
  EXPECT_EQ(nearest("statu", kCommands), "status");
  EXPECT_EQ(nearest("stauts", kCommands), "status");
  EXPECT_EQ(nearest("docter", kCommands), "doctor");
  EXPECT_EQ(nearest("rnu", kCommands), "run");
  EXPECT_EQ(nearest("tpo", kCommands), "top");
  EXPECT_EQ(nearest("serve", kCommands), "serve");
}

TEST(Suggestion, SaysNothingWhereNothingIsNear) {
  EXPECT_EQ(nearest("xyz", kCommands), "");
  EXPECT_EQ(nearest("", kCommands), "");
  EXPECT_EQ(nearest(std::string(1000, 's'), kCommands), "");
  EXPECT_EQ(nearest("status", {}), "");
}

}  // namespace
}  // namespace portpool
