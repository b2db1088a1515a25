#include "daemon/rewritten.h"

#include <gtest/gtest.h>

namespace portpool {
namespace {

Endpoint service(std::uint32_t number) {
  return {address_from_v4({htonl(0x0A000000U + number)}), 80};
}

TEST(RewrittenDestinations, AreKeptForAWhile) {
  RewrittenDestinations destinations(std::chrono::hours(1));
  EXPECT_FALSE(destinations.contains(service(1)));
  EXPECT_TRUE(destinations.note(service(1)));
  EXPECT_FALSE(destinations.note(service(1))) << "it is known";
  EXPECT_TRUE(destinations.contains(service(1)));
  EXPECT_FALSE(destinations.contains(service(2)));
  EXPECT_FALSE(destinations.contains({service(1).address, 81})) << "another port is another one";
}

TEST(RewrittenDestinations, AreTriedAgain) {
  RewrittenDestinations destinations(std::chrono::nanoseconds(0));
  EXPECT_TRUE(destinations.note(service(1)));
  EXPECT_FALSE(destinations.contains(service(1)));
  EXPECT_TRUE(destinations.note(service(1)));
}

TEST(RewrittenDestinations, TakeNoMoreRoomThanLanes) {
  RewrittenDestinations destinations(std::chrono::hours(1));
  for (std::uint32_t i = 0; i < RewrittenDestinations::kMost; ++i) {
    ASSERT_TRUE(destinations.note(service(i)));
  }
  EXPECT_FALSE(destinations.note(service(RewrittenDestinations::kMost)));
  EXPECT_FALSE(destinations.contains(service(RewrittenDestinations::kMost)));
  EXPECT_TRUE(destinations.contains(service(0)));
}

}  // namespace
}  // namespace portpool
